"""What a run leaves on the disk."""

import shutil
from pathlib import Path

import pytest

from bench.folder import folder_of


def folder_after(error: BaseException) -> Path:
    """The folder of a run that ended so."""
    with pytest.raises(type(error)), folder_of("unit") as root:
        raise error
    return root


def test_a_run_that_failed_leaves_its_logs() -> None:
    root = folder_after(RuntimeError("the load broke off"))
    assert root.is_dir()
    shutil.rmtree(root)


def test_a_run_that_ended_or_was_interrupted_leaves_nothing() -> None:
    with folder_of("unit") as ended:
        pass
    assert not ended.exists()
    assert not folder_after(KeyboardInterrupt()).exists()
