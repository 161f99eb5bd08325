"""Segments on a local disk."""

import asyncio
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from uuid import uuid4

from kernel.content.reference import (
    CONTENT_STORE,
    MARKER,
    ContentNotFound,
    ReadResult,
    Reference,
    SealedContent,
    any_unavailable,
    by_path,
    is_expired,
)
from kernel.errors import Unavailable

SEGMENT_BYTES_MAX = 64 * 1024 * 1024

logger = logging.getLogger(__name__)


class FileStore:
    """Segments on a local disk. Each process writes its own segments; any process reads all."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[str, _Segment] = {}
        self._writing = asyncio.Lock()

    async def is_mounted(self) -> bool:
        return await asyncio.to_thread(self._is_mounted)

    def _is_mounted(self) -> bool:
        """Recognizes the marker, or content that is older than the marker."""
        return (self._root / MARKER).exists() or (self._root / "now").exists()

    async def initialize(self) -> None:
        await asyncio.to_thread(self._initialize)

    def _initialize(self) -> None:
        try:
            self._root.mkdir(0o700, parents=True, exist_ok=True)
            (self._root / MARKER).touch()
            _sync_folder(self._root)
        except OSError as error:
            raise Unavailable(CONTENT_STORE) from error

    async def free_ratio(self) -> float:
        """Free space without root's reserve; 1 while the disk is unavailable."""
        return await asyncio.to_thread(self._free_ratio)

    def _free_ratio(self) -> float:
        try:
            disk = os.statvfs(self._root)
        except OSError:
            return 1.0  # the next write reports it
        return disk.f_bavail / max(disk.f_blocks, 1)

    async def put_many(self, bodies: Sequence[SealedContent]) -> list[str]:
        """Write with one fdatasync per prefix. Raises Unavailable if the write fails."""
        async with self._writing:
            return await asyncio.to_thread(self._put_many, bodies)

    def _put_many(self, bodies: Sequence[SealedContent]) -> list[str]:
        references: list[str] = [""] * len(bodies)
        by_prefix: dict[str, list[int]] = {}
        for index, body in enumerate(bodies):
            by_prefix.setdefault(body.prefix, []).append(index)
        try:
            for prefix, indexes in by_prefix.items():
                written = self._segment(prefix).append([bodies[i].sealed for i in indexes])
                for index, reference in zip(indexes, written, strict=True):
                    references[index] = reference
        except OSError as error:
            # After a failed fsync the state of the pages is unknown.
            self._close_segments(list(self._open))
            raise Unavailable(CONTENT_STORE) from error
        return references

    def _segment(self, prefix: str) -> "_Segment":
        segment = self._open.get(prefix)
        if segment is None or segment.size > SEGMENT_BYTES_MAX:
            if not self._is_mounted():
                raise FileNotFoundError(self._root / MARKER)
            self._close_segments([prefix])
            segment = self._open[prefix] = _Segment(self._root, prefix)
        return segment

    def _close_segments(self, prefixes: Iterable[str]) -> None:
        for prefix in prefixes:
            if (segment := self._open.pop(prefix, None)) is not None:
                segment.close()

    async def get_many(self, references: Sequence[str]) -> list[ReadResult]:
        return await asyncio.to_thread(self._get_many, references)

    def _get_many(self, references: Sequence[str]) -> list[ReadResult]:
        """Segments are opened per batch: a cached descriptor could be closed, and reused for
        another file, while a second thread is about to read it."""
        found: dict[str, ReadResult] = {}
        segments: dict[str, list[Reference]] = defaultdict(list)
        for text in references:
            try:
                reference = Reference.parse(text)
            except ContentNotFound as missing:
                found[text] = missing
            else:
                segments[reference.path].append(reference)
        for path, wanted in segments.items():
            found |= self._read(path, wanted)
        results = [found[text] for text in references]
        if any_unavailable(results) and not self._is_mounted():
            raise Unavailable(CONTENT_STORE) from FileNotFoundError(self._root / MARKER)
        return results

    def _read(self, path: str, wanted: Sequence[Reference]) -> dict[str, ReadResult]:
        try:
            descriptor = os.open(self._root / path, os.O_RDONLY)
        except FileNotFoundError:
            return {reference.text: reference.missing_content_error() for reference in wanted}
        except OSError as error:
            raise Unavailable(CONTENT_STORE) from error
        try:
            return {reference.text: _read_body(descriptor, reference) for reference in wanted}
        except OSError as error:
            raise Unavailable(CONTENT_STORE) from error
        finally:
            os.close(descriptor)

    async def erase(self, references: Sequence[str]) -> None:
        for reference in by_path(references):
            await asyncio.to_thread(self._erase, *reference)

    def _erase(self, path: str, bodies: Sequence[Reference]) -> None:
        try:
            descriptor = os.open(self._root / path, os.O_WRONLY)  # an appended write has no place
        except FileNotFoundError as error:
            if not self._is_mounted():
                raise Unavailable(CONTENT_STORE) from error
            return
        try:
            for body in bodies:
                os.pwrite(descriptor, bytes(body.length), body.offset)
            os.fdatasync(descriptor)
        except OSError as error:
            raise Unavailable(CONTENT_STORE) from error
        finally:
            os.close(descriptor)

    async def remove_expired(self, today: date) -> list[str]:
        async with self._writing:
            return await asyncio.to_thread(self._expire, today)

    def _expire(self, today: date) -> list[str]:
        self._close_segments([prefix for prefix in self._open if is_expired(prefix, today)])
        folders = [(f, str(f.relative_to(self._root))) for f in self._root.glob("*/*")]
        return [name for folder, name in folders if is_expired(name, today) and _remove(folder)]

    async def close(self) -> None:
        self._close_segments(list(self._open))


def _read_body(descriptor: int, reference: Reference) -> ReadResult:
    data = os.pread(descriptor, reference.length, reference.offset)
    return reference.result_of(data)


def _remove(folder: Path) -> bool:
    """Remove a folder with its segments; other content is left in place and logged."""
    try:
        for segment in folder.iterdir():
            segment.unlink(missing_ok=True)
        folder.rmdir()
    except OSError as error:
        logger.warning("content.not_removed", extra={"folder": str(folder), "reason": str(error)})
        return False
    return True


class _Segment:
    """An append-only file with this process as its only writer."""

    def __init__(self, root: Path, prefix: str) -> None:
        self.path = f"{prefix}/{uuid4()}"
        folder = root / prefix
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._descriptor = os.open(root / self.path, flags, 0o600)
        for parent in (
            folder,
            folder.parent,
            root,
        ):  # a new name is durable when its folder is synced
            _sync_folder(parent)
        self.size = 0

    def append(self, bodies: Sequence[bytes]) -> list[str]:
        references = []
        for body in bodies:
            references.append(f"{self.path}:{self.size}:{len(body)}")
            self.size += len(body)
        data = b"".join(bodies)
        while data:
            data = data[os.write(self._descriptor, data) :]
        os.fdatasync(self._descriptor)
        return references

    def close(self) -> None:
        os.close(self._descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
