"""The folder of a run."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.printing import console


@contextmanager
def folder_of(name: str) -> Iterator[Path]:
    """A folder that the peers' users can access; after a failure it is kept, with its logs."""
    root = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
    root.chmod(0o755)
    failed = False
    try:
        yield root
    except Exception:
        failed = True
        console.print(f"the files of {name} are in {root}")
        raise
    finally:
        if not failed:  # Ctrl-C is not a failure
            shutil.rmtree(root, ignore_errors=True)
