"""Seeded bugs: an oracle that misses one of them cannot be trusted.

Each bug is a patch in the folder `bugs`. It is applied to a copy of the tree, and the scenario that
must catch it runs there and is expected to fail.
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
RUN_TIMEOUT_S = 900
DRAIN_S = "45"  # messages that a bug has lost never close, so a longer wait is useless
TIMES = 6  # a kill shows a bug only while there is work in progress
EXCLUDED = (".venv", ".git", "data", "node_modules", "__pycache__", ".mypy_cache", "build")


@dataclass(frozen=True, slots=True)
class Bug:
    """name: of the patch. scenario: the one that must catch it. expected_problem: text of the
    problem that the oracle reports; a run that fails for another reason does not catch the bug."""

    name: str
    scenario: str
    expected_problem: str

    @property
    def patch(self) -> Path:
        return PATCHES / f"{self.name}.patch"


UNFLAGGED_COPIES = "copies, 0 flagged"
CRASH_AT_END_OF_DATA = "crash at router.tick.published, delivery.end_of_data_sent"
BUGS = (
    Bug("offset_committed_early", "crash at ingest.content_synced", "lost"),
    Bug("outbox_row_not_written", "crash at router.attempted.committed", "closed []"),
    Bug("outbox_not_swept", "crash at router.attempted.committed", "closed []"),
    Bug("content_written_late", "crash at ingest.accept.committed", "lost"),
    Bug("idempotency_key_ignored", "crash at ingest.accept.committed", UNFLAGGED_COPIES),
    Bug("transition_without_guard", "repeat records", UNFLAGGED_COPIES),
    Bug("lease_without_fence", "daily limit at failover", "sent with a daily limit"),
    Bug("journal_without_epoch", "failover at delivery.body_sent", UNFLAGGED_COPIES),
    Bug("journal_after_end_of_data", CRASH_AT_END_OF_DATA, UNFLAGGED_COPIES),
    Bug("ambiguous_flag_dropped", CRASH_AT_END_OF_DATA, UNFLAGGED_COPIES),
    Bug("webhook_id_changes", "crash at ingest.closed.committed", "have several ids"),
    Bug("report_recorded_early", "crash under reactions", "0 in the log"),
    Bug("hits_skipped", "crash under reactions", "0 in the log"),
    Bug("facts_forgotten", "rewind offsets", "figures: "),
)


def is_caught(bug: Bug, *, times: int = TIMES) -> bool:
    """True if the scenario catches the bug. Raises CalledProcessError if the patch does not
    apply."""
    with tempfile.TemporaryDirectory(prefix="obm-bug-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*EXCLUDED))
        apply = ["git", "apply", "-C1", str(bug.patch)]
        subprocess.run(apply, cwd=tree, check=True)
        return any(
            bug.expected_problem in problem for problem in problems_in(tree, bug.scenario, times)
        )


def problems_in(tree: Path, scenario: str, times: int) -> list[str]:
    """The problems that the oracle reports in a tree. Raises CalledProcessError without a
    report."""
    report = tree / "report.json"
    options = ["--no-bugs", f"--times={times}", "--scenario", scenario, "--json", str(report)]
    command = [sys.executable, "-m", "tests.faults", *options]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OBM_FAULTS_DRAIN_S": DRAIN_S}
    completed = subprocess.run(
        command, cwd=tree, env=environment, timeout=RUN_TIMEOUT_S, capture_output=True, check=False
    )
    if not report.exists():
        completed.check_returncode()
    return [problem for one in json.loads(report.read_text()) for problem in one["problems"]]
