"""What is left of an event whose recipient was erased."""

from contracts.delivery.v1.events_pb2 import SmtpExchange
from contracts.events.v1.events_pb2 import MessageOpened, TrackingHit
from kernel.redaction import ERASED, pattern_of
from services.events.domain.erasure import erase_recipient, tags_with, without_recipient
from services.events.domain.log_event import log_event_of
from tests.support.message_events import MessageEvents

ANN = "ann@example.net"
PATTERN = pattern_of(ANN)


def test_an_accept_keeps_what_is_counted() -> None:
    message = MessageEvents(ANN, tags={"kind": "order"})
    event = message.accepted()
    event.headers.add(name="X-Metadata", value='{"name": "Ann"}')
    assert erase_recipient(event, PATTERN, own=True)
    assert (event.context.recipient, list(event.to), event.subject) == (ERASED, [ERASED], ERASED)
    assert dict(event.tags) == {"kind": "order"}
    assert not event.metadata
    assert not event.headers
    assert event.context.content_bytes == 10_000
    assert not erase_recipient(event, PATTERN, own=True)


def test_an_accept_to_another_loses_the_address_alone() -> None:
    event = MessageEvents("bob@example.net").accepted()
    assert erase_recipient(event, PATTERN, own=False)
    assert (event.context.recipient, list(event.to)) == ("bob@example.net", [ERASED])
    assert (event.subject, dict(event.metadata)) == ("Your order", {"order": "17"})


def test_an_event_that_arrives_later_is_the_same_but_for_the_recipient() -> None:
    message = MessageEvents(ANN)
    event = message.attempted()
    event.dialogue.append(SmtpExchange(command=f"RCPT TO:<{ANN.upper()}>", code=250))
    before = log_event_of(event)
    after = without_recipient(before)
    assert after._replace(payload=before.payload, recipient=ANN) == before
    assert after.recipient == ERASED
    assert not PATTERN.search(str(after.payload))
    assert event.recipient == ANN
    assert without_recipient(after) is after


def test_a_hit_loses_its_client() -> None:
    hit = TrackingHit(ip="192.0.2.0", user_agent="Mail/1.0", method="GET")
    event = MessageOpened(message_id="1", email_id="2", recipient=ANN, hit=hit)
    assert erase_recipient(event, PATTERN, own=True)
    assert (event.hit.ip, event.hit.user_agent, event.hit.method) == ("", "", "GET")


def test_only_tags_with_the_address_are_removed() -> None:
    message = MessageEvents(ANN, tags={"kind": "order"})
    message.own_message_id = f"<1.{ANN}>"
    [found] = tags_with(message.accepted(), PATTERN)
    assert ANN in found
    assert tags_with(MessageEvents(tags={"kind": "order"}).accepted(), PATTERN) == []
