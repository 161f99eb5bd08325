"""The content store: sealed bodies by reference, batch-first.

`put_many` writes one segment and is durable when it returns: on file:// it appends to this
process's open segment and calls fdatasync once, elsewhere it writes one object. A reference is
`<prefix>/<segment>:<offset>:<bytes>`. The prefix contains the last day of retention and is deleted
as a whole after it; there is no reference counting.

`get_many` returns for each reference:

* the body;
* `ContentNotFound`: its last day has passed, it was erased, or no store created this reference.
  This is final;
* `Unavailable`: its last day has not passed and the store is available, but the body is missing: a
  segment was lost, or is not visible yet on a shared file system. This concerns only this body;
  retry it later.

`get_many` raises `Unavailable` if the whole store is unavailable: an object store that does not
respond, or a volume that is not mounted. `initialize` writes a marker before the first body, so an
empty folder without it is recognized as a mount point, not a store.
"""

import asyncio
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError as StoreError
from obstore.store import from_url

from kernel.content.bucket import BucketStore
from kernel.content.files import FileStore
from kernel.content.reference import (
    CONTENT_STORE,
    MARKER,
    ContentNotFound,
    ReadResult,
    SealedContent,
)
from kernel.errors import ConfigError, Unavailable

__all__ = (
    "CONTENT_STORE",
    "MOUNT_CHECK_INTERVAL_S",
    "BucketStore",
    "ContentNotFound",
    "ContentStore",
    "FileStore",
    "ReadResult",
    "SealedContent",
    "check_mounted",
    "open_store",
)
MOUNT_CHECK_INTERVAL_S = 5.0
MOUNT_POLLS, MOUNT_POLL_S = 50, 0.1


class ContentStore(Protocol):
    async def is_mounted(self) -> bool:
        """Whether the store is there, not just its empty mount point."""

    async def initialize(self) -> None:
        """Write the marker that makes an empty place a store."""

    async def free_ratio(self) -> float:
        """Ratio of free space, 0 to 1."""

    async def put_many(self, bodies: Sequence[SealedContent]) -> list[str]: ...

    async def get_many(self, references: Sequence[str]) -> list[ReadResult]: ...

    async def erase(self, references: Sequence[str]) -> None:
        """Overwrite bodies with zeros, durably. Raises Unavailable."""

    async def remove_expired(self, today: date) -> list[str]:
        """Remove the prefixes whose last day has passed; return their names."""


def open_store(url: str) -> ContentStore:
    """url: file:///path, or an object store: s3://bucket/…, gs://…, az://… Raises ConfigError."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FileStore(Path(unquote(parts.path)))
    try:
        return BucketStore(from_url(url))
    except (StoreError, ValueError) as error:
        raise ConfigError(f"OBM_CONTENT_STORE_URL {url}: {error}") from error


async def check_mounted(store: ContentStore) -> None:
    """Raises Unavailable if the store is not mounted, so that a service is not ready without it.
    Waits first, because another process may be initializing the store."""
    for _ in range(MOUNT_POLLS):
        if await store.is_mounted():
            return
        await asyncio.sleep(MOUNT_POLL_S)
    raise Unavailable(CONTENT_STORE) from FileNotFoundError(f"{MARKER}: is its volume mounted?")
