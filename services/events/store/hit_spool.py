"""The spool of hits: append-only files on a local disk, so that a hit is durable although
PostgreSQL and Kafka are away.

A record is its length and CRC-32 (four octets each, big-endian), then its octets. A file that ends
within a record is what a crash leaves: the rest of it was never acknowledged.
"""

import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from kernel.errors import ConfigError, Unavailable
from kernel.failpoint import failpoint

SEGMENT_BYTES = 8 * 1024 * 1024
RECORD_MAX = 64 * 1024
READ_BYTES = 256 * 1024
SUFFIX = ".hits"
_HEADER = struct.Struct(">II")

logger = logging.getLogger(__name__)


class SpoolPosition(NamedTuple):
    """The number of a segment, and an offset in it."""

    segment: int = 0
    offset: int = 0


class SpooledRecord(NamedTuple):
    """end: the position after it."""

    data: bytes
    end: SpoolPosition


class HitSpool:
    """The spool of one process; another one cannot open the folder meanwhile. Its methods block;
    `append` and `read` may run in two threads at once.

    bytes_max: what all segments may take. segment_bytes: from this size on a new segment begins.
    """

    def __init__(self, folder: Path, *, bytes_max: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Raises ConfigError."""
        self._folder = folder
        self.bytes_max = bytes_max
        self._segment_bytes = segment_bytes
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.id = _read_id(folder / "id")
            self._sizes = {number: path.stat().st_size for number, path in _segments(folder)}
        except OSError as error:
            raise ConfigError(
                f"Cannot use the folder {folder} for hits on tracking links: {error}. Each process "
                "of events needs a folder of its own: set EVENTS_TRACKING_SPOOL."
            ) from error
        self._current = max(self._sizes, default=0)
        self._written = -1  # descriptor of the current segment

    @property
    def size(self) -> int:
        """Octets of all segments."""
        return sum(list(self._sizes.values()))

    def has_room(self, octets: int) -> bool:
        return self.size + octets <= self.bytes_max

    def append(self, records: Sequence[bytes]) -> None:
        """Returns when the records are on the disk. Raises OSError: then none of them may be."""
        data = b"".join([_HEADER.pack(len(one), zlib.crc32(one)) + one for one in records])
        if self._written < 0 or self._sizes[self._current] >= self._segment_bytes:
            self._begin_segment()
        try:
            _write_all(self._written, data)
            os.fdatasync(self._written)
        except OSError:
            self._end_segment()  # after a failed fsync the state of the pages is unknown
            self._remove_empty(self._current)
            raise
        self._sizes[self._current] += len(data)
        failpoint("events.tracking.synced")

    def _begin_segment(self) -> None:
        self._end_segment()
        number = self._current + 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        descriptor = os.open(_path(self._folder, number), flags, 0o600)
        try:
            _sync_folder(self._folder)  # a new name is durable when its folder is
        except OSError:
            os.close(descriptor)
            raise
        self._written, self._current = descriptor, number
        self._sizes[number] = 0

    def _remove_empty(self, number: int) -> None:
        """Or else each try on a full disk would leave a file."""
        if not self._sizes[number]:
            with suppress(OSError):
                _path(self._folder, number).unlink()
            del self._sizes[number]

    def _end_segment(self) -> None:
        if self._written >= 0:
            os.close(self._written)
            self._written = -1

    def read(self, position: SpoolPosition, count: int) -> list[SpooledRecord]:
        """Up to `count` durable records of one segment. Without any, see `skip_ended`. Raises
        Unavailable."""
        limit = self._sizes.get(position.segment, 0)
        if position.offset >= limit:
            return []
        path = _path(self._folder, position.segment)
        with _unavailable_on_error(), path.open("rb") as segment:
            segment.seek(position.offset)
            data = segment.read(min(limit - position.offset, READ_BYTES + RECORD_MAX))
        found = []
        for record, end in _records(data):
            found.append(SpooledRecord(record, position._replace(offset=position.offset + end)))
            if len(found) == count:
                break
        if not found:
            logger.warning(
                "tracking.spool_damaged", extra={"file": str(path), **position._asdict()}
            )
            self._sizes[position.segment] = min(self._sizes[position.segment], position.offset)
        return found

    def known(self, position: SpoolPosition) -> SpoolPosition:
        """A stored position, or the beginning if it is of files that are gone."""
        return position if position.segment <= self._current else SpoolPosition()

    def skip_ended(self, position: SpoolPosition) -> SpoolPosition:
        """The beginning of the next segment if this one is read and no longer written."""
        if position.offset < self._sizes.get(position.segment, 0):
            return position
        if position.segment == self._current and self._written >= 0:
            return position
        following = [number for number in list(self._sizes) if number > position.segment]
        return SpoolPosition(min(following)) if following else position

    def remove_before(self, position: SpoolPosition) -> None:
        """Remove the segments that are read. Raises Unavailable; the next call removes the rest."""
        for number in [one for one in list(self._sizes) if one < position.segment]:
            with _unavailable_on_error():
                _path(self._folder, number).unlink(missing_ok=True)
            del self._sizes[number]

    def close(self) -> None:
        self._end_segment()
        os.close(self._lock)


@contextmanager
def _unavailable_on_error() -> Iterator[None]:
    """A disk that fails is retried, and does not end the process."""
    try:
        yield
    except OSError as error:
        raise Unavailable("spool of tracking hits") from error


def _records(data: bytes) -> Iterator[tuple[bytes, int]]:
    """The whole records at the beginning of the data, each with its end."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, checksum = _HEADER.unpack_from(data, at)
        end = at + _HEADER.size + length
        record = data[at + _HEADER.size : end]
        if end > len(data) or not length or zlib.crc32(record) != checksum:
            return
        yield record, end
        at = end


def _segments(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.glob(f"*{SUFFIX}"):
        if path.stem.isdecimal():
            yield int(path.stem), path


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:012d}{SUFFIX}"


def _read_id(path: Path) -> str:
    """The id of a spool; its position in the database has it."""
    if not path.exists():
        made = path.with_suffix(".new")
        made.write_text(str(uuid4()))
        made.replace(path)
        _sync_folder(path.parent)
    return path.read_text().strip()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
