"""What became of a delivered message: opens, clicks, unsubscription. Decides which hits are events.

A hit within the same minute, of the same link and from the same client, is a repeat. After
STORED_MAX hits of a message further ones are only counted.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from uuid import UUID

from google.protobuf.message import Message

from contracts.events.v1.events_pb2 import (
    MACHINE_CERTAINTY_CERTAIN,
    MACHINE_CERTAINTY_PROBABLE,
    LinkClicked,
    MessageOpened,
    RecipientUnsubscribed,
    TrackingHit,
)
from kernel.redaction import ERASED
from kernel.topics import event_id
from mail import bot_hits
from mail.bot_hits import CERTAIN, BotRule
from mail.tracking import TrackingMode
from services.events.domain.hit import HitKind, RecordedHit, link_id_of

STORED_MAX = 50
BURST_MS = 1_000
NO_LINK = bytes(8)
_STORED = struct.Struct(">16s8s8sq")
_CERTAINTIES = {
    bot_hits.CERTAIN: MACHINE_CERTAINTY_CERTAIN,
    bot_hits.PROBABLE: MACHINE_CERTAINTY_PROBABLE,
}


class DeliveredMessage(NamedTuple):
    """A message of the log. delivered_ms: 0 if that is not known yet. email_id, account_id: empty
    for a message that only a link still names."""

    message_id: str
    email_id: str
    tenant_id: str
    account_id: str
    recipient: str
    test: bool
    delivered_ms: int = 0


class StoredHit(NamedTuple):
    """An open or a click that is an event. link: NO_LINK of an open."""

    event_id: bytes
    link: bytes
    source: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class EngagementCounts:
    """The counts of a message, or of an email in mode anonymous. What is certainly a machine's is
    counted apart. Times in Unix milliseconds; 0: never."""

    subject_id: str
    email_id: str
    tenant_id: str
    opens: int = 0
    clicks: int = 0
    machine_opens: int = 0
    machine_clicks: int = 0
    first_opened_ms: int = 0
    first_clicked_ms: int = 0
    unsubscribed_ms: int = 0
    stored: tuple[StoredHit, ...] = field(default=())


def pack_stored(stored: Iterable[StoredHit]) -> bytes:
    return b"".join(_STORED.pack(*one) for one in stored)


def unpack_stored(data: bytes) -> tuple[StoredHit, ...]:
    return tuple(StoredHit(*one) for one in _STORED.iter_unpack(data))


def subject_of(hit: RecordedHit, message: DeliveredMessage) -> str:
    """Whose engagement a hit counts in: an anonymous one in that of the email."""
    anonymous = hit.mode == TrackingMode.ANONYMOUS and hit.kind != HitKind.UNSUBSCRIBE
    return message.email_id if anonymous else message.message_id


def record_hits(
    engagement: EngagementCounts,
    hits: Sequence[RecordedHit],
    *,
    message: DeliveredMessage,
    rules: Sequence[BotRule],
) -> tuple[EngagementCounts, list[Message]]:
    """The engagement after these hits of one message, and the events of those that are new."""
    seen = {one.event_id for one in engagement.stored}
    events: list[Message] = []
    clicks = [_stored(hit, NO_LINK) for hit in hits if hit.kind == HitKind.CLICK]
    clicks += engagement.stored
    for hit in hits:
        if hit.kind == HitKind.UNSUBSCRIBE:
            if not engagement.unsubscribed_ms:
                engagement = replace(engagement, unsubscribed_ms=hit.at_ms)
            events.append(unsubscribed_event(hit, message))
            continue
        request = _request_of(hit, clicks, delivered_ms=message.delivered_ms)
        event = hit_event(hit, message, rule=_rule_of(hit, request, rules))
        stored = _stored(hit, UUID(event_id(event)).bytes)
        if stored.event_id in seen:
            continue
        seen.add(stored.event_id)
        event.first = _is_first(stored, engagement)
        machine = event.hit.machine == MACHINE_CERTAINTY_CERTAIN
        engagement = _count(engagement, hit, machine=machine)
        if hit.mode > TrackingMode.ANONYMOUS and len(engagement.stored) < STORED_MAX:
            engagement = replace(engagement, stored=(*engagement.stored, stored))
            events.append(event)
    return engagement, events


def _is_first(stored: StoredHit, engagement: EngagementCounts) -> bool:
    if stored.link == NO_LINK:
        return not engagement.opens + engagement.machine_opens
    full = len(engagement.stored) >= STORED_MAX
    return not full and stored.link not in {one.link for one in engagement.stored}


def _count(engagement: EngagementCounts, hit: RecordedHit, *, machine: bool) -> EngagementCounts:
    if hit.kind == HitKind.OPEN:
        if machine:
            return replace(engagement, machine_opens=engagement.machine_opens + 1)
        first = min(engagement.first_opened_ms or hit.at_ms, hit.at_ms)
        return replace(engagement, opens=engagement.opens + 1, first_opened_ms=first)
    if machine:
        return replace(engagement, machine_clicks=engagement.machine_clicks + 1)
    first = min(engagement.first_clicked_ms or hit.at_ms, hit.at_ms)
    return replace(engagement, clicks=engagement.clicks + 1, first_clicked_ms=first)


def _stored(hit: RecordedHit, identifier: bytes) -> StoredHit:
    link = bytes.fromhex(link_id_of(hit.target)) if hit.kind == HitKind.CLICK else NO_LINK
    return StoredHit(identifier, link, bytes.fromhex(hit.source), hit.at_ms)


def _request_of(
    hit: RecordedHit, clicks: Iterable[StoredHit], *, delivered_ms: int
) -> bot_hits.TrackingHit:
    """What only the other clicks of the message and its delivery show. The client itself was
    compared when the hit came."""
    after_s = (hit.at_ms - delivered_ms) / 1000 if delivered_ms else None
    if hit.kind == HitKind.OPEN:
        return bot_hits.TrackingHit(bot_hits.OPEN, "", "", after_s)
    own = _stored(hit, NO_LINK)
    others = [one for one in clicks if one.link != NO_LINK]
    near = {one.link for one in others if abs(one.at_ms - hit.at_ms) < BURST_MS}
    since_ms = [
        hit.at_ms - one.at_ms
        for one in others
        if one.link == own.link and one.source != own.source and one.at_ms < hit.at_ms
    ]
    after_other_s = min(since_ms) / 1000 if since_ms else None
    return bot_hits.TrackingHit(
        bot_hits.CLICK, "", "", after_s, max(len(near), 1), after_other_s=after_other_s
    )


def _rule_of(
    hit: RecordedHit, request: bot_hits.TrackingHit, rules: Sequence[BotRule]
) -> tuple[str, str]:
    """Reason and certainty, or empty ones."""
    if hit.certainty == CERTAIN:
        return hit.machine_reason, CERTAIN
    timed = [rule for rule in rules if rule.is_timed]
    rule = bot_hits.matching_rule(request, timed)
    if rule is None or (hit.machine_reason and not rule.is_certain):
        return hit.machine_reason, hit.certainty
    return rule.reason, rule.certainty


def hit_event(
    hit: RecordedHit, message: DeliveredMessage, *, rule: tuple[str, str]
) -> MessageOpened | LinkClicked:
    """The event of an open or a click. rule: reason and certainty of a machine."""
    reason, certainty = rule
    found = TrackingHit(
        ip=hit.ip,
        user_agent=hit.user_agent,
        method=hit.method,
        machine=_CERTAINTIES.get(certainty, 0),  # type: ignore[arg-type]
        machine_reason=reason,
    )
    found.at.FromMilliseconds(hit.at_ms)
    known = hit.mode >= TrackingMode.IDENTIFIED
    kind = MessageOpened if hit.kind == HitKind.OPEN else LinkClicked
    event = kind(
        message_id=hit.message_id,
        minute=hit.minute,
        source=hit.source,
        tenant_id=message.tenant_id,
        account_id=message.account_id,
        email_id=message.email_id,
        recipient=message.recipient if known else "",
        hit=found,
        test=message.test,
    )
    if isinstance(event, LinkClicked):
        event.link, event.link_id = hit.target, link_id_of(hit.target)
    return event


def unsubscribed_by_link(hit: RecordedHit) -> RecipientUnsubscribed | None:
    """The event of a hit whose message the log no longer has; None if the hit says too little."""
    if hit.kind != HitKind.UNSUBSCRIBE or not hit.recipient:
        return None
    named = DeliveredMessage(hit.message_id, "", hit.tenant_id, "", hit.recipient, hit.test)
    return unsubscribed_event(hit, named)


def unsubscribed_event(hit: RecordedHit, message: DeliveredMessage) -> RecipientUnsubscribed:
    """Of an erased recipient, the link alone still tells who must get no more mail. The log leaves
    it out."""
    erased = message.recipient == ERASED
    event = RecipientUnsubscribed(
        message_id=hit.message_id,
        scope=f"list/{hit.target}" if hit.target else "all",
        tenant_id=message.tenant_id,
        account_id=message.account_id,
        email_id=message.email_id,
        recipient=(hit.recipient or ERASED) if erased else message.recipient,
        list=hit.target,
        method=hit.method,
        test=message.test,
        day=hit.day,
    )
    event.unsubscribed_at.FromMilliseconds(hit.at_ms)
    return event
