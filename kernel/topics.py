"""Topic, partition key and identity of an event, read from its contract."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, cast
from uuid import NAMESPACE_URL, uuid5

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.options.v1 import options_pb2
from contracts.options.v1.options_pb2 import Topic
from kernel.ids import uuid5_text

DLQ_SUFFIX = ".dlq"
EVENT_BYTES_MAX = 64 * 1024  # bodies travel by reference
TRACEPARENT = "traceparent"


_directory_topics: set[str] = set()  # of the contracts in use


class EventContract:
    """The (topic) option of one event type, prepared for the hot path."""

    def __init__(self, event: Descriptor) -> None:
        topic = event.GetOptions().Extensions[options_pb2.topic]
        if not (topic.name and topic.key and topic.natural_key and topic.partitions):
            raise TypeError(f"{event.full_name} has no complete (topic) option")
        self.topic: Topic = topic
        if topic.compacted:
            _directory_topics.add(topic.name)
        self.full_name = event.full_name
        self.record = Outgoing(
            headers={
                "ce_specversion": b"1.0",
                "ce_type": event.full_name.encode(),
                "ce_source": f"/{topic.name.split('.')[0]}".encode(),
                "content-type": b"application/protobuf",
            }
        )
        self._namespace = uuid5(NAMESPACE_URL, event.full_name).bytes
        self._natural_key = [attrgetter(name) for name in topic.natural_key]
        self._key = [attrgetter(name) for name in topic.key]
        self._by_priority = self._topics_by_priority(event)

    def _topics_by_priority(self, event: Descriptor) -> dict[int, str]:
        """Priority enum number → topic; the enum value's name ends with the priority."""
        if not self.topic.priorities:
            return {}
        values = cast(Any, event.fields_by_name[self.topic.priority_field].enum_type).values
        named = {value.name.rpartition("_")[2].lower(): value.number for value in values}
        return {named[name]: f"{self.topic.name}.{name}" for name in self.topic.priorities}

    @property
    def names(self) -> Sequence[str]:
        """The topics of this event, in the order of their priority."""
        return list(self._by_priority.values()) or [self.topic.name]

    def name_for(self, event: Message) -> str:
        if not self._by_priority:
            return self.topic.name
        return self._by_priority[getattr(event, self.topic.priority_field)]

    def key_for(self, event: Message) -> bytes:
        return "/".join([str(get(event)) for get in self._key]).encode()

    def natural_key_for(self, event: Message) -> str:
        """Identifies an event among those of its type. Raises ValueError if it is incomplete."""
        values = [get(event) for get in self._natural_key]
        if not all(values):
            raise ValueError("the natural key is incomplete")
        return "/".join(map(str, values))

    def id_for(self, event: Message) -> str:
        return uuid5_text(self._namespace, self.natural_key_for(event))


@cache
def contract_of(event: Descriptor) -> EventContract:
    return EventContract(event)


def is_directory(topic: str) -> bool:
    """Whether a topic, named without the prefix, holds entries that services replay into tables."""
    return topic in _directory_topics


def is_express(topic: str) -> bool:
    return topic.endswith(".express")


def event_id(event: Message) -> str:
    """uuid5(type, natural key): an event keeps its id when it is published again.

    Proto3 parses an empty record, and many a foreign one, as a message without fields; it has no
    identity. Raises ValueError.
    """
    return contract_of(event.DESCRIPTOR).id_for(event)


def encode(event: Message, time: datetime, traceparent: str | bytes | None = None) -> Outgoing:
    """A record in CloudEvents 1.0 binary mode. Raises ValueError if the event is too large."""
    contract = contract_of(event.DESCRIPTOR)
    value = event.SerializeToString()
    if len(value) > EVENT_BYTES_MAX:
        raise ValueError(
            f"{contract.topic.name}: {len(value)} bytes exceed the maximum of {EVENT_BYTES_MAX}"
        )
    record = Outgoing()
    record.CopyFrom(contract.record)  # faster than filling a map in Python
    record.topic, record.key, record.value = (
        contract.name_for(event),
        contract.key_for(event),
        value,
    )
    headers = record.headers
    headers["ce_id"] = contract.id_for(event).encode()
    headers["ce_time"] = time.isoformat().encode()
    if traceparent:
        headers[TRACEPARENT] = traceparent.encode() if isinstance(traceparent, str) else traceparent
    return record
