"""The scenarios pass all failpoints, the seeded bugs can still be seeded, and the oracle finds what
is wrong."""

import ast
import subprocess
from operator import attrgetter
from pathlib import Path

import pytest

from tests.faults.bugs import BUGS, Bug
from tests.faults.failpoints import FAILPOINTS, LEARNER_POINTS, REACTION_FAILPOINTS
from tests.faults.oracle import Observations, check
from tests.faults.pool_moves import MOVE_POINTS

ROOT = Path(__file__).resolve().parents[2]
# A message to a healthy receiving server does not pass these; integration tests of the services
# kill there.
NOT_IN_SCENARIOS = {
    "router.republish.committed",
    "router.review.in_transaction",  # in test_router_held
    "router.review.committed",
    "ingest.domain.written",  # in test_ingest_domain_checks
    "ingest.domain.in_transaction",
    "ingest.domain.committed",
    "ingest.act.obeyed",  # in cli/test_egress
    "ingest.suppressions.added",  # in test_suppression_imports_kept
    "ingest.suppressions.part_saved",
    "delivery.return_path.forwarded",  # in e2e/test_mail_that_comes_back
    "delivery.domain_report.added",  # in e2e/test_reports_about_domains
    "delivery.tls_report.sent",  # in test_delivery_tls_reports
    "events.certificate.claimed",  # in test_events_certificates
    "events.certificate.in_transaction",
    "events.certificate.issued",
    "events.webhook.recovering",  # in test_events_webhook_recoveries
    "events.webhook.recovered",
    "events.webhook.noticed",  # in test_events_webhook_notices
    "events.figures.in_transaction",  # in test_events_figures
    "events.figures.committed",
    "events.export.written",  # in test_events_exports
    "events.export.saved",
    "events.report.counted",  # in test_events_reports
    "events.report.mailed",
    "events.report.committed",
    "events.usage.in_transaction",  # in test_events_usage_thresholds
    "ingest.usage.exported",  # in test_ingest_usage_exports
    "events.erasure.in_transaction",  # in e2e/test_a_recipient_is_forgotten
    "ingest.erasure.audit_log",
    "ingest.erasure.canceled",
    "ingest.erasure.router",
    "ingest.erasure.delivery",
    "ingest.erasure.content",
    "ingest.erasure.ingest",
    "ingest.erasure.events",
    "ingest.erasure.suppressions",
}


def test_a_scenario_passes_every_failpoint_in_the_code() -> None:
    assert failpoints_in(ROOT / "services") - NOT_IN_SCENARIOS <= {
        *FAILPOINTS,
        *REACTION_FAILPOINTS,
        *LEARNER_POINTS,
        *MOVE_POINTS,
    }


def failpoints_in(folder: Path) -> set[str]:
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
def test_the_patch_of_a_seeded_bug_applies(bug: Bug) -> None:
    apply = ["git", "apply", "-C1", "--check", str(bug.patch)]

    assert subprocess.run(apply, cwd=ROOT, check=False).returncode == 0


def observations(**changes: object) -> Observations:
    """One message, delivered once, with its webhook."""
    correct: dict[str, object] = {
        "accepted": frozenset({"a"}),
        "refused": frozenset(),
        "copies": {"a": 1},
        "closed": {"a": [1]},
        "flagged": {},
        "webhooks": {"a": {("evt_1", "email.delivered")}},
        "flags_allowed": 0,
    }
    return Observations(**{**correct, **changes})  # type: ignore[arg-type]


def test_the_oracle_reports_no_problem_if_all_copies_are_flagged() -> None:
    assert check(observations()).problems == []
    assert check(observations(copies={"a": 2}, flagged={"a": 1}, flags_allowed=1)).problems == []
    assert check(observations(copies={"a": 2}, sent_again=frozenset("a"))).problems == []


def test_a_flagged_message_may_be_suppressed_once_its_recipient_has_complained() -> None:
    received = {("1", "email.suppressed"), ("2", "email.complained")}
    flagged = {
        "closed": {"a": [4]},
        "flagged": {"a": 1},
        "flags_allowed": 1,
        "webhooks": {"a": received},
    }
    assert check(observations(reacted={"a": "email.complained"}, **flagged)).problems == []
    assert check(observations(reacted={"a": "email.clicked"}, **flagged)).problems


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"copies": {}}, "lost"),
        ({"copies": {"a": 2}}, "2 copies, 0 flagged"),
        ({"copies": {"a": 3}, "sent_again": frozenset("a")}, "3 copies, 0 flagged"),
        ({"closed": {}}, "closed []"),
        ({"closed": {"a": [1, 2]}}, "closed [1, 2]"),
        ({"closed": {"a": [2]}}, "closed [2]"),
        ({"webhooks": {}}, "webhooks received"),
        ({"webhooks": {"a": {("1", "email.delivered"), ("2", "email.delivered")}}}, "several ids"),
        ({"copies": {"a": 1, "b": 1}}, "never accepted"),
        ({"flagged": {"a": 1}}, "are ambiguous"),
        ({"open_rows": 1}, "still open"),
        ({"reacted": {"a": "email.bounced"}}, "webhooks received"),
    ],
)
def test_the_oracle_reports_what_is_wrong(changes: dict[str, object], expected: str) -> None:
    problems = check(observations(**changes)).problems

    assert any(expected in problem for problem in problems), problems
