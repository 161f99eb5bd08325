"""Segments in an object store."""

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError as StoreError
from obstore.exceptions import PreconditionError
from obstore.store import ObjectStore

from kernel.content.reference import (
    CONTENT_STORE,
    MARKER,
    SEGMENT,
    ContentNotFound,
    ReadResult,
    Reference,
    SealedContent,
    any_unavailable,
    by_path,
    is_expired,
)
from kernel.errors import Unavailable

if TYPE_CHECKING:
    from obstore import UpdateVersion


class BucketStore:
    """Segments in an object store: one object per put_many and prefix."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def is_mounted(self) -> bool:
        """Recognizes the marker, or content that is older than the marker."""
        try:
            await obstore.head_async(self._store, MARKER)
        except FileNotFoundError:
            return bool(await self._folders(""))
        except StoreError as error:
            raise Unavailable(CONTENT_STORE) from error
        return True

    async def initialize(self) -> None:
        try:
            await obstore.put_async(self._store, MARKER, b"")
        except (FileNotFoundError, StoreError) as error:
            raise Unavailable(CONTENT_STORE) from error

    async def free_ratio(self) -> float:
        return 1.0  # no limit

    async def put_many(self, bodies: Sequence[SealedContent]) -> list[str]:
        """Return when the store has confirmed every object. Raises Unavailable."""
        references: list[str] = [""] * len(bodies)
        segments: dict[str, bytearray] = {}
        paths: dict[str, str] = {}
        for index, body in enumerate(bodies):
            path = paths.setdefault(body.prefix, f"{body.prefix}/{uuid4()}")
            segment = segments.setdefault(path, bytearray())
            references[index] = f"{path}:{len(segment)}:{len(body.sealed)}"
            segment += body.sealed
        try:
            await asyncio.gather(
                *(
                    obstore.put_async(self._store, path, bytes(data))
                    for path, data in segments.items()
                )
            )
        except (FileNotFoundError, StoreError) as error:
            raise Unavailable(CONTENT_STORE) from error
        return references

    async def get_many(self, references: Sequence[str]) -> list[ReadResult]:
        results = list(await asyncio.gather(*(self._get(text) for text in references)))
        if any_unavailable(results) and not await self.is_mounted():
            raise Unavailable(CONTENT_STORE) from FileNotFoundError(MARKER)
        return results

    async def _get(self, text: str) -> ReadResult:
        try:
            at = Reference.parse(text)
        except ContentNotFound as missing:
            return missing
        if not at.length:
            return b""
        try:
            data = await obstore.get_range_async(
                self._store, at.path, start=at.offset, length=at.length
            )
        except FileNotFoundError:
            return at.missing_content_error()
        except StoreError as error:
            raise Unavailable(CONTENT_STORE) from error
        return at.result_of(bytes(data))

    async def erase(self, references: Sequence[str]) -> None:
        """An object is written anew as a whole, if nobody else has erased bodies of it meanwhile.
        Raises Unavailable."""
        for path, bodies in by_path(references):
            try:
                while not await self._overwrite(path, bodies):
                    pass
            except FileNotFoundError:
                continue  # its day has passed
            except StoreError as error:
                raise Unavailable(CONTENT_STORE) from error

    async def _overwrite(self, path: str, bodies: Sequence[Reference]) -> bool:
        """Returns whether the object was still the one that was read. Raises FileNotFoundError,
        StoreError."""
        found = await obstore.get_async(self._store, path)
        data = bytearray(await found.bytes_async())
        for body in bodies:
            end = min(body.offset + body.length, len(data))
            data[body.offset : end] = bytes(max(end - body.offset, 0))
        read: UpdateVersion = {}
        for name in ("e_tag", "version"):
            if found.meta[name] is not None:
                read[name] = found.meta[name]
        try:
            await obstore.put_async(self._store, path, bytes(data), mode=read, use_multipart=False)
        except PreconditionError:
            return False
        return True

    async def remove_expired(self, today: date) -> list[str]:
        """Find expired days by name; segments are listed only for those."""
        days = [day for kind in await self._folders("") for day in await self._folders(kind)]
        gone = [day for day in days if is_expired(day, today)]
        for day in gone:
            await self._remove(day)
        return gone

    async def _folders(self, prefix: str) -> list[str]:
        try:
            found = await obstore.list_with_delimiter_async(self._store, prefix or None)
        except FileNotFoundError:  # the bucket
            return []
        except StoreError as error:
            raise Unavailable(CONTENT_STORE) from error
        return list(found["common_prefixes"])

    async def _remove(self, day: str) -> None:
        try:
            async for page in obstore.list(self._store, day):
                paths = [entry["path"] for entry in page]
                await obstore.delete_async(self._store, [p for p in paths if SEGMENT.fullmatch(p)])
        except StoreError as error:
            raise Unavailable(CONTENT_STORE) from error
