"""The folder of a run after its end."""

import shutil
from pathlib import Path

import pytest

from bench.folder import folder_of


def folder_after(error: BaseException) -> Path:
    """The folder of a run that ended with this error."""
    with pytest.raises(type(error)), folder_of("unit") as root:
        raise error
    return root


def test_a_failed_run_keeps_its_folder() -> None:
    root = folder_after(RuntimeError("the load broke off"))
    assert root.is_dir()
    shutil.rmtree(root)


def test_a_finished_or_interrupted_run_removes_its_folder() -> None:
    with folder_of("unit") as ended:
        pass
    assert not ended.exists()
    assert not folder_after(KeyboardInterrupt()).exists()
