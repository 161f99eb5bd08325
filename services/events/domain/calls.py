"""One try at one endpoint: everything that has to be said, ready."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from contracts.ingest.v1.events_pb2 import MessageAccepted
from services.events.domain.catalogue import data_of, envelope, iso, type_of
from services.events.domain.endpoint import Endpoint
from services.events.domain.facts import Fact
from services.events.domain.state import Entry

ACCEPTS_MAX = 20_000


class Call(NamedTuple):
    """position: of the event in the log, and so its id, the same on every try. tries: those before
    this one."""

    endpoint: Endpoint
    position: str
    token: str
    body: bytes
    tries: int = 0

    @property
    def id(self) -> str:
        """The webhook's."""
        return public_id(self.position)


def call_of(
    entry: Entry,
    accepted: MessageAccepted | None,
    *,
    endpoint: Endpoint,
    token: str,
    position: str,
    tries: int = 0,
) -> Call:
    body = envelope(
        public_id(position),
        type_of(entry.fact, told=True),
        created_at=recorded_at(position),
        data=data_of(entry.fact, accepted, told=entry.told),
    )
    return Call(endpoint, position, token, body, tries)


def public_id(position: str) -> str:
    """An event's id for tenants."""
    return f"evt_{position}"


def recorded_at(position: str) -> str:
    """When it was recorded, from its UUIDv7: RFC 3339."""
    return iso(int(position[:8] + position[9:13], 16))


class Accepts:
    """The last accepts of tenants that are told, so that most calls need no look into the log."""

    def __init__(self, size: int = ACCEPTS_MAX) -> None:
        self._size = size
        self._by_message: OrderedDict[str, MessageAccepted] = OrderedDict()

    def learn(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            if isinstance(fact.event, MessageAccepted):
                self._by_message[fact.subject_id] = fact.event
        while len(self._by_message) > self._size:
            self._by_message.popitem(last=False)

    def of(self, fact: Fact) -> MessageAccepted | None:
        return self._by_message.get(fact.subject_id)
