"""The spool of hits: what is acknowledged is read once, whatever a crash leaves behind."""

import errno
import os
from pathlib import Path

import pytest

from kernel.errors import ConfigError, Unavailable
from services.events.store.hit_spool import HitSpool, SpoolPosition

START = SpoolPosition()


def open_spool(folder: Path, **settings: int) -> HitSpool:
    return HitSpool(folder, **{"bytes_max": 1_000_000, **settings})


def read_all(spool: HitSpool, position: SpoolPosition = START) -> list[bytes]:
    found = []
    while True:
        records = spool.read(position, 3)
        found += [record.data for record in records]
        after = records[-1].end if records else spool.skip_ended(position)
        if after == position:
            return found
        position = after


def test_records_are_read_in_order_over_many_segments(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, segment_bytes=100)
    written = [b"%d" % number * 7 for number in range(100)]
    for at in range(0, 100, 4):
        spool.append(written[at : at + 4])
    assert read_all(spool) == written
    assert len(list(tmp_path.glob("*.hits"))) > 5
    spool.close()


def test_a_later_process_reads_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.append([b"one"])
    spool.close()
    later = open_spool(tmp_path)
    assert later.id == spool.id
    later.append([b"two"])
    assert read_all(later) == [b"one", b"two"]
    later.close()


def test_two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    with pytest.raises(ConfigError, match="EVENTS_TRACKING_SPOOL"):
        open_spool(tmp_path)
    spool.close()


@pytest.mark.parametrize("left", range(1, 24))
def test_a_record_that_a_crash_cut_off_is_skipped(tmp_path: Path, left: int) -> None:
    spool = open_spool(tmp_path)
    spool.append([b"whole", b"cut off in the middle"])
    spool.close()
    [path] = tmp_path.glob("*.hits")
    os.truncate(path, 8 + 5 + left)
    later = open_spool(tmp_path)
    later.append([b"next"])
    assert read_all(later) == [b"whole", b"next"]
    later.close()


def test_damaged_octets_end_a_segment_only(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, segment_bytes=1)
    spool.append([b"first"])
    spool.append([b"second"])
    [first, _] = sorted(tmp_path.glob("*.hits"))
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    assert read_all(spool) == [b"second"]
    spool.close()


def test_read_segments_are_removed(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, segment_bytes=1)
    for number in range(5):
        spool.append([b"%d" % number])
    assert not HitSpool.has_room(spool, 1_000_000)
    spool.remove_before(SpoolPosition(5))
    assert len(list(tmp_path.glob("*.hits"))) == 1
    assert spool.size == 9
    spool.close()


def test_a_full_disk_leaves_no_files_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(tmp_path)
    spool.append([b"before"])

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        for _ in range(20):
            with pytest.raises(OSError, match="No space"):
                spool.append([b"lost"])
    assert len(list(tmp_path.glob("*.hits"))) == 1
    spool.append([b"after"])
    assert read_all(spool) == [b"before", b"after"]
    spool.close()


def test_a_position_of_files_that_are_gone_begins_again(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.append([b"one"])
    assert spool.known(SpoolPosition(1, 11)) == SpoolPosition(1, 11)
    assert spool.known(SpoolPosition(7, 11)) == START
    spool.close()


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
def test_a_disk_that_fails_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    spool = open_spool(tmp_path, segment_bytes=1)
    spool.append([b"one"])
    spool.append([b"two"])

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        patch.setattr(Path, "unlink", fail)
        with pytest.raises(Unavailable):
            spool.read(SpoolPosition(1), 3)
        with pytest.raises(Unavailable):
            spool.remove_before(SpoolPosition(2))
    assert read_all(spool, SpoolPosition(1)) == [b"one", b"two"]
    spool.remove_before(SpoolPosition(2))
    assert [path.name for path in tmp_path.glob("*.hits")] == ["000000000002.hits"]
    spool.close()
