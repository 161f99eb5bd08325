"""The content store: sealed bodies by reference, batch-first.

`put_many` writes one packed segment and is durable when it returns: on file:// an append to this
process's open segment and one fdatasync, elsewhere one object. A reference is
`<prefix>/<segment>:<offset>:<bytes>`; the prefix is named by the day until which it is kept, and
goes as a whole when that day has passed. References are never counted.

`get_many` answers each reference by itself:

* the body;
* `ContentNotFound`: its last day has passed, or no store ever made this reference. That is final;
* `Unavailable`: its last day has not passed and the store is there, but the body is not: a segment
  was lost, or is not visible yet on a shared file system. It concerns this body alone: its
  neighbours are answered, and whoever asked tries this one again later.

It raises `Unavailable` when the store as a whole is away, as an object store that does not answer
or a volume that is not mounted. The latter is told by a marker, which `initialize` writes before
the first body: an empty folder without it is a mount point, not a store.
"""

import asyncio
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError as StoreError
from obstore.store import from_url

from kernel.content.files import FileStore
from kernel.content.reference import CONTENT_STORE, MARKER, Body, ContentNotFound, ReadResult
from kernel.content.remote import RemoteStore
from kernel.errors import ConfigError, Unavailable

__all__ = (
    "CONTENT_STORE",
    "MOUNT_CHECK_INTERVAL_S",
    "Body",
    "ContentNotFound",
    "ContentStore",
    "FileStore",
    "ReadResult",
    "RemoteStore",
    "check_mounted",
    "open_store",
)
MOUNT_CHECK_INTERVAL_S = 5.0
LOOKS, LOOK_EVERY_S = 50, 0.1


class ContentStore(Protocol):
    async def is_mounted(self) -> bool:
        """Whether this is the store, and not the place where it ought to be."""

    async def initialize(self) -> None:
        """Make an empty place a store."""

    async def free_share(self) -> float:
        """Of its space, 0 to 1."""

    async def put_many(self, bodies: Sequence[Body]) -> list[str]: ...

    async def get_many(self, references: Sequence[str]) -> list[ReadResult]: ...

    async def expire(self, today: date) -> list[str]:
        """Remove the prefixes whose day has passed; their names."""


def open_store(url: str) -> ContentStore:
    """file:///path, or whatever obstore knows: s3://bucket/…, gs://…, az://…"""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FileStore(Path(unquote(parts.path)))
    try:
        return RemoteStore(from_url(url))
    except (StoreError, ValueError) as error:
        raise ConfigError(f"OBM_CONTENT_STORE_URL {url}: {error}") from error


async def check_mounted(store: ContentStore) -> None:
    """What a pump does, so that a service is not ready without it. Raises Unavailable; not before
    who starts beside us has had the time to make an empty place the store."""
    for _ in range(LOOKS):
        if await store.is_mounted():
            return
        await asyncio.sleep(LOOK_EVERY_S)
    raise Unavailable(CONTENT_STORE) from FileNotFoundError(f"{MARKER}: is its volume mounted?")
