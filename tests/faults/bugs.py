"""Seeded bugs: an oracle that misses one is not to be trusted.

Each is a patch beside this file. It is applied to a copy of the tree, and the scenarios that should
catch it are run there; their failing is what is wanted.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATCHES = Path(__file__).with_name("bugs")
GIVE_UP_S = 900
DRAIN_S = "45"  # what a bug has lost does not come however long one waits
TIMES = 6  # a kill hits a bug only when there is work in hand
LEFT_OUT = (".venv", ".git", "data", "node_modules", "__pycache__", ".mypy_cache", "build")


@dataclass(frozen=True, slots=True)
class Bug:
    """name: of the patch. scenario: that it is seen in. sign: what the oracle then says, so that a
    run that fails for another reason is no catch."""

    name: str
    scenario: str
    sign: str

    @property
    def patch(self) -> Path:
        return PATCHES / f"{self.name}.patch"


TWICE = "copies, 0 flagged"
AT_THE_DOT = "die at router.tick.published, delivery.end_of_data_sent"
BUGS = (
    Bug("offset_committed_first", "die at ingest.content_synced", "lost"),
    Bug("outbox_row_dropped", "die at router.attempted.committed", "closed []"),
    Bug("outbox_never_swept", "die at router.attempted.committed", "closed []"),
    Bug("content_not_kept", "die at ingest.accept.committed", "lost"),
    Bug("idempotency_forgotten", "die at ingest.accept.committed", TWICE),
    Bug("state_moved_without_guard", "told again", TWICE),
    Bug("no_fence", "capped", "left under a cap"),
    Bug("no_epoch_in_journal", "successor at delivery.body_sent", TWICE),
    Bug("journal_after_the_dot", AT_THE_DOT, TWICE),
    Bug("ambiguity_forgotten", AT_THE_DOT, TWICE),
    Bug("webhook_id_changes", "die at ingest.closed.committed", "by more than one id"),
)


def is_caught(bug: Bug, *, times: int = TIMES) -> bool:
    """Whether the faults see it. Raises when the patch does not fit the code any more."""
    with tempfile.TemporaryDirectory(prefix="obm-bug-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
        apply = ["git", "apply", "-C1", str(bug.patch)]
        subprocess.run(apply, cwd=tree, check=True)
        return any(bug.sign in problem for problem in problems_in(tree, bug.scenario, times))


def problems_in(tree: Path, scenario: str, times: int) -> list[str]:
    """What the oracle says of a scenario in a tree. Raises CalledProcessError when it is silent."""
    report = tree / "report.json"
    asked = ["--no-bugs", f"--times={times}", "--scenario", scenario, "--json", str(report)]
    command = [sys.executable, "-m", "tests.faults", *asked]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OBM_FAULTS_DRAIN_S": DRAIN_S}
    done = subprocess.run(
        command, cwd=tree, env=environment, timeout=GIVE_UP_S, capture_output=True, check=False
    )
    if not report.exists():
        done.check_returncode()
    return [problem for one in json.loads(report.read_text()) for problem in one["problems"]]
