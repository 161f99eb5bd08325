"""One try at one endpoint: everything that has to be said, ready."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from contracts.ingest.v1.events_pb2 import MessageAccepted
from services.events.domain.catalogue import data_of, envelope, type_of
from services.events.domain.endpoint import Endpoint
from services.events.domain.facts import Fact, Kind
from services.events.domain.state import Entry

ACCEPTS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Call:
    """id: the webhook's, the same on every try. tries: those before this one."""

    endpoint: Endpoint
    event_id: str
    token: str
    id: str
    body: bytes
    tries: int = 0


def call_of(
    entry: Entry,
    accepted: MessageAccepted | None,
    *,
    endpoint: Endpoint,
    token: str,
    position: str,
    tries: int = 0,
) -> Call:
    identifier = public_id(position)
    body = envelope(
        identifier,
        type_of(entry.fact, told=True),
        created_at=recorded_at(position),
        data=data_of(entry.fact, accepted, told=entry.told),
    )
    return Call(endpoint, entry.fact.event_id, token, identifier, body, tries)


def public_id(position: str) -> str:
    """An event's id for tenants."""
    return f"evt_{position}"


def recorded_at(position: str) -> str:
    """When it was recorded, from its UUIDv7: RFC 3339."""
    moment = datetime.fromtimestamp((UUID(position).int >> 80) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Accepts:
    """The last accepts of tenants that are told, so that most calls need no look into the log."""

    def __init__(self, size: int = ACCEPTS_MAX) -> None:
        self._size = size
        self._by_message: OrderedDict[str, MessageAccepted] = OrderedDict()

    def learn(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            if fact.kind == Kind.ACCEPTED and isinstance(fact.event, MessageAccepted):
                self._by_message[fact.subject_id] = fact.event
        while len(self._by_message) > self._size:
            self._by_message.popitem(last=False)

    def of(self, fact: Fact) -> MessageAccepted | None:
        return self._by_message.get(fact.subject_id)
