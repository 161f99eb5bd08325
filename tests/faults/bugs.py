"""Seeded bugs: an oracle that misses one is not to be trusted.

Each is a patch beside this file. It is applied to a copy of the tree, and the scenarios that should
catch it are run there; their failing is what is wanted.
"""

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
TIMES = 6  # a kill hits a bug only when there is work in hand
LEFT_OUT = (".venv", ".git", "data", "node_modules", "__pycache__", ".mypy_cache", "build")


@dataclass(frozen=True, slots=True)
class Bug:
    """name: of the patch. scenarios: any of them failing is the catch."""

    name: str
    scenarios: tuple[str, ...]

    @property
    def patch(self) -> Path:
        return PATCHES / f"{self.name}.patch"


BUGS = (
    Bug("offset_committed_first", ("die at ingest.content_synced",)),
    Bug("outbox_row_dropped", ("die at router.attempted.committed",)),
    Bug("outbox_never_swept", ("die at router.attempted.committed",)),
    Bug("content_not_kept", ("die at ingest.accept.committed",)),
    Bug("idempotency_forgotten", ("die at ingest.accept.committed",)),
    Bug("state_moved_without_guard", ("offsets back",)),
    Bug("no_epoch_in_journal", ("successor at delivery.body_sent",)),
    Bug("journal_after_the_dot", ("die at router.tick.published, delivery.dot_sent",)),
    Bug("ambiguity_forgotten", ("die at router.tick.published, delivery.dot_sent",)),
    Bug("webhook_id_changes", ("die at ingest.closed.committed",)),
)


def is_caught(bug: Bug, *, times: int = TIMES) -> bool:
    """Whether the faults see it. Raises when the patch does not fit the code any more."""
    with tempfile.TemporaryDirectory(prefix="obm-bug-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
        apply = ["git", "apply", "-C1", str(bug.patch)]
        subprocess.run(apply, cwd=tree, check=True)
        return any(run_in(tree, scenario, times) != 0 for scenario in bug.scenarios)


def run_in(tree: Path, scenario: str, times: int) -> int:
    asked = ["--no-bugs", f"--times={times}", "--scenario", scenario]
    command = [sys.executable, "-m", "tests.faults", *asked]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OBM_FAULTS_DRAIN_S": "30"}
    done = subprocess.run(
        command, cwd=tree, env=environment, timeout=GIVE_UP_S, capture_output=True, check=False
    )
    return done.returncode
