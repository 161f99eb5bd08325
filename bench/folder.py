"""A folder for what a run writes."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.printing import console


@contextmanager
def folder_of(name: str) -> Iterator[Path]:
    """A folder that the peers' own users can enter; it stays, with its logs, after a failure."""
    root = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
    root.chmod(0o755)
    failed = False
    try:
        yield root
    except Exception:
        failed = True
        console.print(f"what {name} wrote is in {root}")
        raise
    finally:
        if not failed:  # Ctrl-C is no failure
            shutil.rmtree(root, ignore_errors=True)
