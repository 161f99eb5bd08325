"""The content store: sealed bodies by reference, batch-first.

`put_many` writes one packed segment and is durable when it returns: on file:// an append to this
process's open segment and one fdatasync, elsewhere one object. A reference is
`<prefix>/<segment>:<offset>:<bytes>`; the prefix is named by the day until which it is kept, and
goes as a whole when that day has passed. References are never counted.
"""

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError as StoreError
from obstore.store import ObjectStore, from_url

from kernel.errors import BadSetting, Unavailable

SEGMENT_BYTES_MAX = 64 * 1024 * 1024
REFERENCE = re.compile(r"^([a-z]+/\d{4}-\d\d-\d\d/[0-9a-f-]{36}):(\d+):(\d+)$")


class Missing(Exception):
    """No body at this reference: it has expired, or there never was one."""


@dataclass(frozen=True, slots=True)
class Body:
    """sealed: the bytes. kept: the class of mail (now, scheduled). until: its last day."""

    sealed: bytes
    kept: str
    until: date

    @property
    def prefix(self) -> str:
        return f"{self.kept}/{self.until.isoformat()}"


@dataclass(frozen=True, slots=True)
class Reference:
    path: str
    offset: int
    length: int

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Raises Missing for anything that this store has not made."""
        if not (match := REFERENCE.match(text)):
            raise Missing(text[:100])
        return cls(match[1], int(match[2]), int(match[3]))

    def __str__(self) -> str:
        return f"{self.path}:{self.offset}:{self.length}"


class ContentStore(Protocol):
    async def put_many(self, bodies: Sequence[Body]) -> list[str]: ...

    async def get_many(self, references: Sequence[str]) -> "list[bytes | Missing]": ...

    async def expire(self, today: date) -> list[str]: ...


def open_store(url: str) -> ContentStore:
    """file:///path, or whatever obstore knows: s3://bucket/…, gs://…, az://…"""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FileStore(Path(unquote(parts.path)))
    try:
        return RemoteStore(from_url(url))
    except (StoreError, ValueError) as error:
        raise BadSetting(f"CONTENT_STORE_URL {url}: {error}") from error


class FileStore:
    """Segments on a local disk. One writer per prefix and process; readers anywhere."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[str, _Segment] = {}
        self._writing = asyncio.Lock()
        self._readers: dict[str, int] = {}

    async def put_many(self, bodies: Sequence[Body]) -> list[str]:
        """One fdatasync per prefix. Raises Unavailable when the disk does not take it."""
        async with self._writing:
            return await asyncio.to_thread(self._put_many, bodies)

    def _put_many(self, bodies: Sequence[Body]) -> list[str]:
        references: list[str] = [""] * len(bodies)
        by_prefix: dict[str, list[int]] = {}
        for index, body in enumerate(bodies):
            by_prefix.setdefault(body.prefix, []).append(index)
        try:
            for prefix, indexes in by_prefix.items():
                written = self._segment(prefix).append([bodies[i].sealed for i in indexes])
                for index, reference in zip(indexes, written, strict=True):
                    references[index] = str(reference)
        except OSError as error:
            self._forget()  # after a failed fsync nothing is known about the pages: never again
            raise Unavailable("content store") from error
        return references

    def _segment(self, prefix: str) -> "_Segment":
        segment = self._open.get(prefix)
        if segment is None or segment.size > SEGMENT_BYTES_MAX:
            if segment is not None:
                segment.close()
            segment = self._open[prefix] = _Segment(self._root, prefix)
        return segment

    def _forget(self) -> None:
        for segment in self._open.values():
            segment.close()
        self._open.clear()

    async def get_many(self, references: Sequence[str]) -> "list[bytes | Missing]":
        return await asyncio.to_thread(lambda: [self._get(text) for text in references])

    def _get(self, text: str) -> "bytes | Missing":
        try:
            reference = Reference.parse(text)
            data = os.pread(self._reader(reference.path), reference.length, reference.offset)
        except (Missing, FileNotFoundError):
            return Missing(text)
        except OSError as error:
            raise Unavailable("content store") from error
        return data if len(data) == reference.length else Missing(text)

    def _reader(self, path: str) -> int:
        """A descriptor that stays open: segments are read many times while they are young."""
        if (descriptor := self._readers.get(path)) is None:
            while len(self._readers) >= 64:
                os.close(self._readers.pop(next(iter(self._readers))))
            descriptor = self._readers[path] = os.open(self._root / path, os.O_RDONLY)
        return descriptor

    async def expire(self, today: date) -> list[str]:
        """Remove the prefixes whose day has passed; their names."""
        return await asyncio.to_thread(self._expire, today)

    def _expire(self, today: date) -> list[str]:
        gone = [folder for folder in self._root.glob("*/*") if passed(folder.name, today)]
        for folder in gone:
            for segment in folder.iterdir():
                segment.unlink(missing_ok=True)
            folder.rmdir()
        return [str(folder.relative_to(self._root)) for folder in gone]

    async def close(self) -> None:
        self._forget()
        while self._readers:
            os.close(self._readers.popitem()[1])


class _Segment:
    """An append-only file that only this process writes."""

    def __init__(self, root: Path, prefix: str) -> None:
        self.path = f"{prefix}/{uuid4()}"
        folder = root / prefix
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._descriptor = os.open(root / self.path, flags, 0o600)
        for parent in (folder, folder.parent, root):  # a name is durable when its folder is
            _sync_folder(parent)
        self.size = 0

    def append(self, bodies: Sequence[bytes]) -> list[Reference]:
        references = []
        for body in bodies:
            references.append(Reference(self.path, self.size, len(body)))
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


class RemoteStore:
    """Segments in an object store: one object per put_many and prefix."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put_many(self, bodies: Sequence[Body]) -> list[str]:
        """Durable when the store has answered. Raises Unavailable when it does not."""
        references: list[str] = [""] * len(bodies)
        segments: dict[str, bytearray] = {}
        paths: dict[str, str] = {}
        for index, body in enumerate(bodies):
            path = paths.setdefault(body.prefix, f"{body.prefix}/{uuid4()}")
            segment = segments.setdefault(path, bytearray())
            references[index] = str(Reference(path, len(segment), len(body.sealed)))
            segment += body.sealed
        try:
            await asyncio.gather(
                *(
                    obstore.put_async(self._store, path, bytes(data))
                    for path, data in segments.items()
                )
            )
        except StoreError as error:
            raise Unavailable("content store") from error
        return references

    async def get_many(self, references: Sequence[str]) -> "list[bytes | Missing]":
        return list(await asyncio.gather(*(self._get(text) for text in references)))

    async def _get(self, text: str) -> "bytes | Missing":
        try:
            at = Reference.parse(text)
            if not at.length:
                return b""
            data = await obstore.get_range_async(
                self._store, at.path, start=at.offset, length=at.length
            )
        except (Missing, FileNotFoundError):
            return Missing(text)
        except StoreError as error:
            raise Unavailable("content store") from error
        return bytes(data) if len(data) == at.length else Missing(text)

    async def expire(self, today: date) -> list[str]:
        gone = set()
        async for page in obstore.list(self._store):
            paths = [entry["path"] for entry in page if passed(entry["path"].split("/")[1], today)]
            await obstore.delete_async(self._store, paths)
            gone |= {path.rpartition("/")[0] for path in paths}
        return sorted(gone)


def passed(day: str, today: date) -> bool:
    try:
        return date.fromisoformat(day) < today
    except ValueError:
        return False
