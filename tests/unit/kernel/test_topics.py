from datetime import UTC, datetime
from uuid import UUID

import pytest

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, PRIORITY_EXPRESS, MessageAccepted
from contracts.options.v1.options_pb2 import Topic
from contracts.router.v1.events_pb2 import DeliveryAssigned, MessageClosed
from kernel.topics import EVENT_BYTES_MAX, contract_of, encode, event_id

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_record_is_a_cloud_event_in_binary_mode() -> None:
    closed = MessageClosed(message_id="m")

    record = encode(closed, NOW, "00-a-b-01")

    assert (record.topic, record.key) == ("router.message-closed.v1", b"m")
    assert record.value == closed.SerializeToString()
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": event_id(closed).encode(),
        "ce_type": b"contracts.router.v1.MessageClosed",
        "ce_source": b"/router",
        "ce_time": b"2026-01-02T00:00:00+00:00",
        "content-type": b"application/protobuf",
        "traceparent": b"00-a-b-01",
    }


def test_an_event_keeps_its_id_when_it_is_published_again() -> None:
    once = event_id(DeliveryAssigned(message_id="m", attempt=1, site="a"))

    assert once == event_id(DeliveryAssigned(message_id="m", attempt=1, site="b"))
    assert once != event_id(DeliveryAssigned(message_id="m", attempt=2))
    assert str(UUID(once)) == once


def test_an_event_without_its_natural_key_is_rejected() -> None:
    with pytest.raises(ValueError, match="natural key"):
        event_id(DeliveryAssigned(message_id="m"))


def test_an_assignment_is_keyed_by_egress_and_site() -> None:
    assigned = DeliveryAssigned(
        message_id="m", attempt=1, egress_id="e", site="s", priority=PRIORITY_EXPRESS
    )

    assert encode(assigned, NOW).key == b"e/s"


def test_each_priority_has_its_own_topic_in_order() -> None:
    accepted = MessageAccepted(message_id="m", priority=PRIORITY_BULK)

    assert encode(accepted, NOW).topic == "ingest.message-accepted.v1.bulk"
    assert contract_of(MessageAccepted.DESCRIPTOR).names == [
        "ingest.message-accepted.v1.express",
        "ingest.message-accepted.v1.bulk",
    ]


def test_an_event_with_a_body_is_too_large() -> None:
    with pytest.raises(ValueError, match="exceed the maximum"):
        encode(MessageClosed(message_id="m", reason="x" * EVENT_BYTES_MAX), NOW)


def test_a_message_without_a_topic_is_not_an_event() -> None:
    with pytest.raises(TypeError, match="topic"):
        contract_of(Topic.DESCRIPTOR)
