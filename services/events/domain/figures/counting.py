"""How a message is counted: what its facts add to the figures, and how that changes.

What a message adds depends on its facts alone. An event adds the difference between what the facts
add with and without it. So the figures result from the events in any order, and those of all
messages can be counted anew from the log.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_BOUNCED,
    CLOSED_STATE_CANCELED,
    CLOSED_STATE_DELIVERED,
    CLOSED_STATE_FAILED,
    CLOSED_STATE_SUPPRESSED,
)
from mail.bounce import class_by_name
from services.events.domain.figures.definitions import TimedSpan
from services.events.domain.figures.facts import (
    BLOCKED,
    NOWHERE,
    WOULD_HOLD,
    WOULD_PASS,
    MessageFacts,
    SourceAndSite,
    hour_of,
)
from services.events.domain.figures.histogram import bucket_of

UNCLASSIFIED = "uncategorized"
SHADOWS = {WOULD_HOLD: "would_hold", WOULD_PASS: "would_pass"}
TYPES = {"Permanent": "bounced_permanent", "Transient": "bounced_transient"}


class MessageDimensions(NamedTuple):
    """What all counts of a message have in common. cohort: hour of the acceptance."""

    tenant_id: str
    cohort: int
    domain_id: str
    stream: str
    key_id: str
    recipient_domain: str
    tags: tuple[str, ...]


class EventDimensions(NamedTuple):
    """Where counts of a message differ. hour: of the event, since 1970."""

    hour: int
    place: SourceAndSite = NOWHERE
    bounce_class: str = ""


class FactsChange(NamedTuple):
    """A message before and after a batch."""

    tenant_id: str
    message_id: str
    before: MessageFacts | None
    after: MessageFacts | None


# Of a counter by name, or of a bucket of a histogram: the number of a TimedSpan, and the bucket.
# Plain integers, because hashing a member of an enumeration takes as long as the rest of an
# addition.
Measure = str | tuple[int, int]
Counts = defaultdict[EventDimensions, defaultdict[Measure, int]]
FIRST_ATTEMPT, DELIVERY = int(TimedSpan.FIRST_ATTEMPT), int(TimedSpan.DELIVERY)
COLUMNS = {int(timing): timing.name.lower() for timing in TimedSpan}


class FigureDelta(NamedTuple):
    """Numbers to add; none is zero."""

    sender: MessageDimensions
    cell: EventDimensions
    numbers: dict[Measure, int]


def deltas_of(changes: Iterable[FactsChange]) -> list[FigureDelta]:
    """One for each sender and cell of which something changes."""
    by_sender: dict[MessageDimensions, Counts] = {}
    for change in changes:
        after, before = change.after, change.before
        if after is None or after is before:
            continue
        sender = sender_of(change, after)
        counts = by_sender.get(sender)
        if counts is None:
            counts = by_sender[sender] = new_counts()
        if before is None or not before.accepted_ms:
            _add(counts, after)
        else:
            _add_difference(counts, before, after)
    return [
        FigureDelta(sender, cell, changed)
        for sender, counts in by_sender.items()
        for cell, numbers in counts.items()
        if (changed := {measure: number for measure, number in numbers.items() if number})
    ]


def new_counts() -> Counts:
    return defaultdict(lambda: defaultdict(int))


def sender_of(change: FactsChange, facts: MessageFacts) -> MessageDimensions:
    accepted_ms = int(change.message_id[:8] + change.message_id[9:13], 16)
    return MessageDimensions(
        change.tenant_id,
        hour_of(accepted_ms),
        facts.domain_id,
        "broadcast" if facts.broadcast else "transactional",
        facts.key_id,
        facts.recipient_domain,
        facts.tags,
    )


def count(facts: MessageFacts) -> Counts:
    """What a message adds: nothing before its accept is known."""
    counts = new_counts()
    _add(counts, facts)
    return counts


def _add(counts: Counts, facts: MessageFacts) -> None:
    if facts.accepted_ms:
        for happened, _, add in PARTS:
            if happened(facts):
                add(counts, facts, 1)


def _add_difference(counts: Counts, before: MessageFacts, after: MessageFacts) -> None:
    """Between two batches most parts of a message stay as they are. Both have been accepted."""
    for happened, fields, add in PARTS:
        had, has = happened(before), happened(after)
        if (had or has) and fields(before) != fields(after):
            if had:
                add(counts, before, -1)
            if has:
                add(counts, after, 1)


def _add_acceptance(counts: Counts, facts: MessageFacts, number: int) -> None:
    accepted = counts[EventDimensions(hour_of(facts.accepted_ms))]
    accepted["accepted"] += number
    accepted["bytes"] += number * facts.octets
    if facts.held:
        accepted["held"] += number
    if facts.shadow:
        accepted[SHADOWS[facts.shadow]] += number


def _add_sending(counts: Counts, facts: MessageFacts, number: int) -> None:
    hour = hour_of(facts.assigned_ms or facts.accepted_ms)
    counts[EventDimensions(hour, facts.first_place)]["sent"] += number


def _add_first_attempt(counts: Counts, facts: MessageFacts, number: int) -> None:
    if facts.first_attempt:
        bucket = bucket_of(facts.attempted_ms - max(facts.accepted_ms, facts.due_ms))
        cell = EventDimensions(hour_of(facts.attempted_ms), facts.first_place)
        counts[cell][FIRST_ATTEMPT, bucket] += number


def _add_delivery(counts: Counts, facts: MessageFacts, number: int) -> None:
    if facts.first_attempt:
        bucket = bucket_of(facts.delivered_ms - max(facts.accepted_ms, facts.due_ms))
        counts[_last(facts, facts.delivered_ms)][DELIVERY, bucket] += number


def _add_deferrals(counts: Counts, facts: MessageFacts, number: int) -> None:
    if facts.first_attempt:
        first = EventDimensions(hour_of(facts.deferred_ms), facts.deferred_place)
        counts[first]["delivery_delayed"] += number
        for one in facts.deferrals:
            counts[EventDimensions(one.hour, one.place)]["deferrals"] += number * one.number


def _add_end(counts: Counts, facts: MessageFacts, number: int) -> None:
    """A message is counted as bounced once: when it closed, or else when the bounce arrived."""
    cell = _last(facts, facts.closed_ms or facts.accepted_ms)
    if facts.closed == CLOSED_STATE_BOUNCED:
        _add_bounce(counts, cell._replace(bounce_class=facts.reason or UNCLASSIFIED), number)
    elif facts.bounced_ms:
        cls = facts.bounce_class or UNCLASSIFIED
        late = _last(facts, facts.bounced_ms)._replace(bounce_class=cls)
        _add_bounce(counts, late, number)
        counts[late]["bounced_async"] += number
    if facts.closed == CLOSED_STATE_DELIVERED:
        numbers = counts[cell]
        numbers["delivered"] += number
        numbers["delivered_later" if facts.deferrals else "delivered_first"] += number
    elif facts.closed in ENDS:
        counts[cell][ENDS[facts.closed]] += number
        if facts.closed == CLOSED_STATE_FAILED and facts.reason == BLOCKED:
            counts[cell]["blocked"] += number


def _add_bounce(counts: Counts, cell: EventDimensions, number: int) -> None:
    counts[cell]["bounced"] += number
    counts[cell][_type_of(cell.bounce_class)] += number


def _add_complaint(counts: Counts, facts: MessageFacts, number: int) -> None:
    counts[_last(facts, facts.complained_ms)]["complained"] += number


def _add_unsubscription(counts: Counts, facts: MessageFacts, number: int) -> None:
    counts[_last(facts, facts.unsubscribed_ms)]["unsubscribed"] += number


ENDS: dict[int, str] = {
    CLOSED_STATE_FAILED: "failed",
    CLOSED_STATE_SUPPRESSED: "suppressed",
    CLOSED_STATE_CANCELED: "canceled",
}


@lru_cache(maxsize=1_000)
def _type_of(bounce_class: str) -> str:
    try:
        ses_type = class_by_name(bounce_class).ses_type
    except KeyError:  # of another version
        ses_type = ""
    return TYPES.get(ses_type, "bounced_undetermined")


def _add_engagement(counts: Counts, facts: MessageFacts, number: int) -> None:
    """A message is unique once: for people, or else for machines."""
    firsts = {
        "confirmed_opened": _first(facts.opened_ms, facts.clicked_ms),
        "unique_opened": facts.opened_ms,
        "machine_unique_opened": 0 if facts.opened_ms else facts.machine_opened_ms,
        "unique_clicked": facts.clicked_ms,
        "machine_unique_clicked": 0 if facts.clicked_ms else facts.machine_clicked_ms,
    }
    for name, at_ms in firsts.items():
        if at_ms:
            counts[_last(facts, at_ms)][name] += number
    tallies = {
        "opened": facts.opens,
        "clicked": facts.clicks,
        "machine_opened": facts.machine_opens,
        "machine_clicked": facts.machine_clicks,
    }
    for name, some in tallies.items():
        for one in some:
            counts[EventDimensions(one.hour, facts.last_place)][name] += number * one.number


def _first(*moments_ms: int) -> int:
    return min(filter(None, moments_ms), default=0)


def _last(facts: MessageFacts, at_ms: int) -> EventDimensions:
    """At a time, and where the message was assigned last."""
    return EventDimensions(hour_of(at_ms), facts.last_place)


# Each part of what a message adds: whether there is something, the fields on which it depends, and
# what adds it.
PARTS: tuple[
    tuple[
        Callable[[MessageFacts], Any],
        Callable[[MessageFacts], Any],
        Callable[[Counts, MessageFacts, int], None],
    ],
    ...,
] = (
    (
        attrgetter("accepted_ms"),
        attrgetter("accepted_ms", "octets", "held", "shadow"),
        _add_acceptance,
    ),
    (
        attrgetter("first_attempt"),
        attrgetter("first_place", "assigned_ms", "accepted_ms"),
        _add_sending,
    ),
    (
        attrgetter("attempted_ms"),
        attrgetter("attempted_ms", "first_attempt", "first_place", "accepted_ms", "due_ms"),
        _add_first_attempt,
    ),
    (
        attrgetter("delivered_ms"),
        attrgetter("delivered_ms", "first_attempt", "last_place", "accepted_ms", "due_ms"),
        _add_delivery,
    ),
    (
        attrgetter("deferrals"),
        attrgetter("deferrals", "first_attempt", "deferred_ms", "deferred_place"),
        _add_deferrals,
    ),
    (
        lambda facts: facts.closed or facts.bounced_ms,
        attrgetter(
            "closed", "closed_ms", "reason", "bounced_ms", "bounce_class", "deferrals",
            "last_place", "accepted_ms",
        ),
        _add_end,
    ),
    (attrgetter("complained_ms"), attrgetter("complained_ms", "last_place"), _add_complaint),
    (
        attrgetter("unsubscribed_ms"),
        attrgetter("unsubscribed_ms", "last_place"),
        _add_unsubscription,
    ),
    (
        lambda facts: facts.opens or facts.clicks or facts.machine_opens or facts.machine_clicks,
        attrgetter(
            "opens", "clicks", "machine_opens", "machine_clicks", "opened_ms", "clicked_ms",
            "machine_opened_ms", "machine_clicked_ms", "last_place",
        ),
        _add_engagement,
    ),
)  # fmt: skip


def row_of(delta: FigureDelta) -> dict[str, Any]:
    """The row of a delta, by column; counters that do not change are left out. Of histograms: the
    buckets, from 1; a negative one is to be taken away."""
    sender, cell = delta.sender, delta.cell
    row: dict[str, Any] = {
        "tenant_id": sender.tenant_id,
        "cohort": sender.cohort,
        "hour": cell.hour,
        "domain_id": sender.domain_id,
        "stream": sender.stream,
        "key_id": sender.key_id,
        "recipient_domain": sender.recipient_domain,
        "tags": sender.tags,
        "egress_id": cell.place.egress_id,
        "site": cell.place.site,
        "bounce_class": cell.bounce_class,
    }
    for measure, number in delta.numbers.items():
        if isinstance(measure, str):
            row[measure] = number
        else:
            timing, bucket = measure
            signed = bucket + 1 if number > 0 else -bucket - 1
            row.setdefault(COLUMNS[timing], []).extend([signed] * abs(number))
    return row
