"""The data folder: one owner, atomic writes, durable state."""

import asyncio
import os
from pathlib import Path

import pytest

from kernel.content import open_store
from kernel.embedded import EmbeddedError
from kernel.embedded.folder import Folder, is_alive, process_identity


def test_a_second_owner_is_rejected_with_the_pid_of_the_first(tmp_path: Path) -> None:
    first, second = Folder(tmp_path), Folder(tmp_path)
    first.open()
    with pytest.raises(EmbeddedError, match=f"in use by process {os.getpid()}"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_a_full_disk_is_reported_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel.embedded.folder.FREE_MIN_BYTES", 1 << 62)
    with pytest.raises(EmbeddedError, match="No space left"):
        Folder(tmp_path).open()


def test_a_path_with_a_comma_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="without a comma"):
        Folder(tmp_path / "one,two").open()
    assert not (tmp_path / "one,two").exists()


def test_an_unfinished_folder_is_rebuilt(tmp_path: Path) -> None:
    folder = Folder(tmp_path)

    def fail(path: Path) -> None:
        path.mkdir()
        (path / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.create_once("kafka", fail)
    assert not (tmp_path / "kafka").exists()
    folder.create_once("kafka", Path.mkdir)
    assert list((tmp_path / "kafka").iterdir()) == []


def test_a_finished_folder_is_kept(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.create_once("kafka", Path.mkdir)
    folder.create_once("kafka", lambda _: pytest.fail("made twice"))


def test_a_partial_state_file_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "embedded.json").write_text('{"owner": [1')
    folder = Folder(tmp_path)
    assert folder.recall("owner") is None
    folder.remember("owner", [1, 2.0])
    assert folder.recall("owner") == [1, 2.0]


def test_a_reused_pid_is_not_the_old_process() -> None:
    pid, started = process_identity(os.getpid())
    assert is_alive([pid, started])
    assert not is_alive([pid, started - 60])


def test_other_users_cannot_read_a_new_data_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    folder = Folder(data)
    folder.open()
    folder.close()
    asyncio.run(open_store((data / "content").as_uri()).initialize())
    for path in (data, data / "content"):  # other users can traverse it, but neither list nor read
        assert path.stat().st_mode & 0o066 == 0
