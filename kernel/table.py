"""Replicated tables: compacted topics held in memory, so that a lookup needs no query."""

import asyncio
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, Protocol, TypeVar, cast

from google.protobuf.message import Message

from kernel.processor import Record
from kernel.topics import contract_of

POLL_S = 0.05


class TopicReplayer(Protocol):
    """The part of the broker that a table needs; kernel.kafka.Kafka implements it."""

    def replay(
        self, event: type[Message], on_record: Callable[[Record], None]
    ) -> asyncio.Event: ...


V = TypeVar("V", bound=Message)


class ReplicatedTable(Generic[V]):
    """The newest version of every entry, by id.

    An entry is a message with `version` and `deleted`; its id is its key field. Older versions and
    repeats are ignored, so the order of the topic does not matter. kafka: replays the entry's
    compacted topic; without it the table holds only what is `put`. index: the value of an entry
    that `get_by_index` finds it by.
    """

    def __init__(
        self,
        event: type[V],
        kafka: TopicReplayer | None = None,
        *,
        index: Callable[[V], Hashable] | None = None,
    ) -> None:
        self._event = event
        [self._id_field] = contract_of(event.DESCRIPTOR).topic.key
        self._index_of = index
        self._entries: dict[str, V] = {}
        self._index: dict[Hashable, str] = {}
        self._listeners: list[Callable[[V], None]] = []
        self.replayed = kafka.replay(event, self._on_record) if kafka else asyncio.Event()

    def get(self, entry_id: str) -> V | None:
        """The entry, or None if it is unknown or deleted."""
        entry = self._entries.get(entry_id)
        return None if entry is None or self._deleted(entry) else entry

    def get_by_index(self, value: Hashable) -> V | None:
        """The entry with this index value, or None."""
        return self.get(self._index.get(value, ""))

    def has_record(self, entry_id: str) -> bool:
        """Whether a record of the entry has arrived, even one of its deletion."""
        return entry_id in self._entries

    def was_deleted(self, entry_id: str) -> bool:
        """Whether the entry is known to be deleted; False if no record has arrived yet."""
        entry = self._entries.get(entry_id)
        return entry is not None and self._deleted(entry)

    def values(self) -> list[V]:
        return [entry for entry in self._entries.values() if not self._deleted(entry)]

    async def wait_for(self, ids: Iterable[str], *, within_s: float = 5.0) -> dict[str, V]:
        """The existing entries among these ids. Waits for missing records up to within_s, because a
        message can arrive before the record of its tenant."""
        wanted = set(ids)
        deadline = asyncio.get_running_loop().time() + within_s
        while missing := wanted - self._entries.keys():
            if asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(POLL_S)
        present = ((entry_id, self.get(entry_id)) for entry_id in wanted - missing)
        return {entry_id: entry for entry_id, entry in present if entry is not None}

    def put(self, entry: V) -> None:
        """Apply an entry from the topic or from the owner's database."""
        entry_id = str(getattr(entry, self._id_field))
        known = self._entries.get(entry_id)
        if known is not None and self._version(known) >= self._version(entry):
            return
        self._entries[entry_id] = entry
        if self._index_of is not None:
            self._reindex(self._index_of, known, entry)
        for listener in self._listeners:
            listener(entry)

    def _reindex(self, index_of: Callable[[V], Hashable], known: V | None, entry: V) -> None:
        """Update the index. Deleted entries are left out, so that they do not hide a successor."""
        entry_id = str(getattr(entry, self._id_field))
        if known is not None and self._index.get(index_of(known)) == entry_id:
            del self._index[index_of(known)]
        if not self._deleted(entry):
            self._index[index_of(entry)] = entry_id

    def on_change(self, listener: Callable[[V], None]) -> None:
        """Register a listener that is called with each new version."""
        self._listeners.append(listener)

    def _on_record(self, record: Record) -> None:
        if record.value:
            self.put(self._event.FromString(record.value))

    @staticmethod
    def _version(entry: Message) -> int:
        return int(cast(Any, entry).version)

    @staticmethod
    def _deleted(entry: Message) -> bool:
        return bool(cast(Any, entry).deleted)
