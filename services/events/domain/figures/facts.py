"""What figures need to know of a message: its events, in any order, merged.

Facts are stored with the state of the message. Each event is merged once, because only those that
are new in the log are.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_EGRESS_FAILED,
    ATTEMPT_OUTCOME_STALE,
    ATTEMPT_OUTCOME_TEMPORARY,
    BounceReceived,
    ComplaintReceived,
    DeliveryAttempted,
)
from contracts.events.v1.events_pb2 import (
    MACHINE_CERTAINTY_CERTAIN,
    LinkClicked,
    MessageOpened,
    RecipientUnsubscribed,
)
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import CLOSED_STATE_FAILED, DeliveryAssigned, MessageClosed
from contracts.shield.v1.events_pb2 import (
    VERDICT_HOLD,
    VERDICT_PASS,
    MessageScreened,
    ShadowDiffered,
)
from services.events.domain.log_event import LogEvent, is_test

HOUR_MS = 3_600_000
HOURS_MAX = 4_000_000  # in the year 2426: a bad time must not break a batch
BLOCKED = "blocked"
BROADCAST = "broadcast"
WOULD_HOLD, WOULD_PASS = 1, 2


class SourceAndSite(NamedTuple):
    """Through which egress source to which site."""

    egress_id: str = ""
    site: str = ""


NOWHERE = SourceAndSite()


class HourlyCount(NamedTuple):
    """How often something happened in an hour (since 1970)."""

    hour: int
    place: SourceAndSite
    number: int


class MessageFacts(msgspec.Struct, array_like=True, gc=False):
    """Times in Unix milliseconds; 0: not yet. accepted_ms: 0 until the accept is known, without
    which nothing is counted. first_place, last_place: of the first and of the last assignment. Of
    opens and clicks, machines apart. shadow: WOULD_HOLD or WOULD_PASS, of the second model."""

    accepted_ms: int = 0
    due_ms: int = 0
    domain_id: str = ""
    broadcast: bool = False
    key_id: str = ""
    recipient_domain: str = ""
    tags: tuple[str, ...] = ()
    octets: int = 0
    held: bool = False
    assigned_ms: int = 0
    first_attempt: int = 0
    first_place: SourceAndSite = NOWHERE
    last_attempt: int = 0
    last_place: SourceAndSite = NOWHERE
    attempted_ms: int = 0
    delivered_ms: int = 0
    deferred_ms: int = 0
    deferred_place: SourceAndSite = NOWHERE
    deferrals: tuple[HourlyCount, ...] = ()
    closed: int = 0
    closed_ms: int = 0
    reason: str = ""
    bounced_ms: int = 0
    bounce_class: str = ""
    complained_ms: int = 0
    unsubscribed_ms: int = 0
    opened_ms: int = 0
    clicked_ms: int = 0
    machine_opened_ms: int = 0
    machine_clicked_ms: int = 0
    opens: tuple[HourlyCount, ...] = ()
    clicks: tuple[HourlyCount, ...] = ()
    machine_opens: tuple[HourlyCount, ...] = ()
    machine_clicks: tuple[HourlyCount, ...] = ()
    shadow: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(MessageFacts).decode
_copy: Callable[[MessageFacts], MessageFacts] = MessageFacts.__copy__  # type: ignore[attr-defined]


def encode_facts(facts: MessageFacts | None) -> bytes:
    return b"" if facts is None else _encode(facts)


def decode_facts(data: bytes) -> MessageFacts | None:
    return _decode(data) if data else None


def merge_facts(facts: MessageFacts | None, log_events: Iterable[LogEvent]) -> MessageFacts | None:
    """The facts after these events, which are new; None of test mail. The given ones stay."""
    merged = None
    for log_event in log_events:
        merge = MERGES.get(type(log_event.payload))
        if merge is None:
            continue
        if merged is None:
            if is_test(log_event):
                return None
            merged = MessageFacts() if facts is None else _copy(facts)
        merge(merged, log_event.payload)
    return facts if merged is None else merged


def hour_of(moment_ms: int) -> int:
    """Hours since 1970."""
    hour = moment_ms // HOUR_MS
    return hour if 0 <= hour <= HOURS_MAX else min(max(hour, 0), HOURS_MAX)


def _ms(stamp: Timestamp) -> int:
    return stamp.seconds * 1000 + stamp.nanos // 1_000_000


def _accepted(facts: MessageFacts, event: MessageAccepted) -> None:
    context = event.context
    facts.accepted_ms = _ms(context.accepted_at) or 1
    facts.due_ms = _ms(context.due_at)
    facts.domain_id = context.domain_id
    facts.broadcast = event.stream == BROADCAST
    facts.key_id = context.api_key_id or context.mailbox_id
    facts.recipient_domain = context.recipient.rpartition("@")[2].lower()
    facts.octets = context.content_bytes
    if event.tags:
        facts.tags = tuple(sorted(f"{name}:{value}" for name, value in event.tags.items()))


def _screened(facts: MessageFacts, event: MessageScreened) -> None:
    if event.verdict == VERDICT_HOLD:
        facts.held = True


def _shadow(facts: MessageFacts, event: ShadowDiffered) -> None:
    """A difference between holding and blocking is none."""
    if event.live.verdict == VERDICT_PASS:
        facts.shadow = WOULD_HOLD
    elif event.shadow.verdict == VERDICT_PASS:
        facts.shadow = WOULD_PASS


def _assigned(facts: MessageFacts, event: DeliveryAssigned) -> None:
    place = SourceAndSite(event.egress_id, event.site)
    if not facts.first_attempt or event.attempt < facts.first_attempt:
        facts.first_attempt, facts.first_place = event.attempt, place
        facts.assigned_ms = _ms(event.assigned_at)
    _reach(facts, event.attempt, place)


def _attempted(facts: MessageFacts, event: DeliveryAttempted) -> None:
    if event.outcome in (ATTEMPT_OUTCOME_STALE, ATTEMPT_OUTCOME_EGRESS_FAILED):
        return
    place, ended_ms = SourceAndSite(event.egress_id, event.site), _ms(event.attempted_at)
    _reach(facts, event.attempt, place)
    facts.attempted_ms = _earlier(facts.attempted_ms, ended_ms - event.duration_ms)
    if event.outcome == ATTEMPT_OUTCOME_DELIVERED:
        facts.delivered_ms = _earlier(facts.delivered_ms, ended_ms)
    elif event.outcome == ATTEMPT_OUTCOME_TEMPORARY and event.reply.code:
        first = facts.deferred_ms, facts.deferred_place
        if not facts.deferred_ms or (ended_ms, place) < first:
            facts.deferred_ms, facts.deferred_place = ended_ms, place
        facts.deferrals = _add(facts.deferrals, ended_ms, place)


def _closed(facts: MessageFacts, event: MessageClosed) -> None:
    facts.closed = event.state or CLOSED_STATE_FAILED
    facts.closed_ms = _ms(event.closed_at)
    blocked = event.reason.startswith(BLOCKED)
    facts.reason = event.bounce_class or (BLOCKED if blocked else "")


def _bounced(facts: MessageFacts, event: BounceReceived) -> None:
    facts.bounced_ms, facts.bounce_class = _ms(event.received_at) or 1, event.bounce_class


def _complained(facts: MessageFacts, event: ComplaintReceived) -> None:
    facts.complained_ms = _ms(event.received_at) or 1


def _unsubscribed(facts: MessageFacts, event: RecipientUnsubscribed) -> None:
    facts.unsubscribed_ms = _earlier(facts.unsubscribed_ms, _ms(event.unsubscribed_at) or 1)


def _opened(facts: MessageFacts, event: MessageOpened) -> None:
    at_ms = _ms(event.hit.at) or 1
    if event.hit.machine == MACHINE_CERTAINTY_CERTAIN:
        facts.machine_opened_ms = _earlier(facts.machine_opened_ms, at_ms)
        facts.machine_opens = _add(facts.machine_opens, at_ms)
    else:
        facts.opened_ms = _earlier(facts.opened_ms, at_ms)
        facts.opens = _add(facts.opens, at_ms)


def _clicked(facts: MessageFacts, event: LinkClicked) -> None:
    at_ms = _ms(event.hit.at) or 1
    if event.hit.machine == MACHINE_CERTAINTY_CERTAIN:
        facts.machine_clicked_ms = _earlier(facts.machine_clicked_ms, at_ms)
        facts.machine_clicks = _add(facts.machine_clicks, at_ms)
    else:
        facts.clicked_ms = _earlier(facts.clicked_ms, at_ms)
        facts.clicks = _add(facts.clicks, at_ms)


def _reach(facts: MessageFacts, attempt: int, place: SourceAndSite) -> None:
    facts.last_attempt, facts.last_place = max(
        (facts.last_attempt, facts.last_place), (attempt, place)
    )


def _earlier(known_ms: int, at_ms: int) -> int:
    return min(known_ms, at_ms) if known_ms else at_ms


def _add(
    tallies: tuple[HourlyCount, ...], at_ms: int, place: SourceAndSite = NOWHERE
) -> tuple[HourlyCount, ...]:
    """In the order of time, so that the same events give the same facts."""
    hour = hour_of(at_ms)
    for n, one in enumerate(tallies):
        if one[:2] == (hour, place):
            more = one._replace(number=one.number + 1)
            return (*tallies[:n], more, *tallies[n + 1 :])
    return tuple(sorted((*tallies, HourlyCount(hour, place, 1))))


Merge = Callable[[MessageFacts, Any], None]
MERGES: dict[type[Message], Merge] = {
    MessageAccepted: _accepted,
    MessageScreened: _screened,
    ShadowDiffered: _shadow,
    DeliveryAssigned: _assigned,
    DeliveryAttempted: _attempted,
    MessageClosed: _closed,
    BounceReceived: _bounced,
    ComplaintReceived: _complained,
    MessageOpened: _opened,
    LinkClicked: _clicked,
    RecipientUnsubscribed: _unsubscribed,
}
