"""Every fault once, in one world; after each the oracle looks at everything since the beginning.

`make faults` does the same in full numbers, each scenario in a world of its own.
"""

import ast
import subprocess
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest

from tests.faults.bugs import BUGS, Bug
from tests.faults.oracle import Evidence, judge
from tests.faults.points import POINTS
from tests.faults.run import judged
from tests.faults.scenarios import quick
from tests.faults.world import World, world

ROOT = Path(__file__).resolve().parents[2]
RATE_PER_S = 30.0
# Passed only when something else is asked for than a message to a healthy receiver; the services'
# own integration tests kill there.
OTHERWISE = {"router.republish.committed"}
SCENARIOS = quick()


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faults")
    with world(folder, seed=7, rate_per_s=RATE_PER_S, audited=True) as engine:
        yield engine


@pytest.mark.timeout(600)  # a slow machine drains for long
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_message_is_delivered_once_and_flagged_if_not(there: World, name: str) -> None:
    if there.client.stopped:
        there.client.resume()

    result = judged(there, SCENARIOS[name])

    assert not result.verdict.problems, result.line()


def test_every_failpoint_in_the_code_is_passed_by_a_scenario() -> None:
    assert named_in(ROOT / "services") - OTHERWISE <= set(POINTS)


def named_in(folder: Path) -> set[str]:
    calls = (
        node
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    )
    found = set()
    for call in calls:
        words = [getattr(call.func, "id", ""), *(getattr(arg, "id", "") for arg in call.args)]
        if "failpoint" in words:
            found |= {str(arg.value) for arg in call.args if isinstance(arg, ast.Constant)}
    return found


@pytest.mark.parametrize("bug", BUGS, ids=attrgetter("name"))
def test_a_seeded_bug_still_fits_the_code(bug: Bug) -> None:
    fits = ["git", "apply", "-C1", "--check", str(bug.patch)]

    assert subprocess.run(fits, cwd=ROOT, check=False).returncode == 0


def evidence(**changes: object) -> Evidence:
    """One message, delivered once, everybody told."""
    sound: dict[str, object] = {
        "accepted": frozenset({"a"}),
        "refused": frozenset(),
        "copies": {"a": 1},
        "closed": {"a": [1]},
        "flagged": {},
        "told": {"a": {("evt_1", "email.delivered")}},
        "flags_allowed": 0,
    }
    return Evidence(**{**sound, **changes})  # type: ignore[arg-type]


def test_the_oracle_is_content_with_what_is_sound() -> None:
    assert judge(evidence()).problems == []
    assert judge(evidence(copies={"a": 2}, flagged={"a": 1}, flags_allowed=1)).problems == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"copies": {}}, "lost"),
        ({"copies": {"a": 2}}, "2 copies, 0 flagged"),
        ({"closed": {}}, "closed []"),
        ({"closed": {"a": [1, 2]}}, "closed [1, 2]"),
        ({"closed": {"a": [2]}}, "closed [2]"),
        ({"told": {}}, "webhooks told"),
        ({"told": {"a": {("1", "email.delivered"), ("2", "email.delivered")}}}, "webhooks told"),
        ({"copies": {"a": 1, "b": 1}}, "without a promise"),
        ({"flagged": {"a": 1}}, "called ambiguous"),
        ({"open_rows": 1}, "still open"),
    ],
)
def test_the_oracle_names_what_is_wrong(changes: dict[str, object], said: str) -> None:
    problems = judge(evidence(**changes)).problems

    assert any(said in problem for problem in problems), problems
