"""What is counted of messages is what happened to them, in any order and any batches."""

from collections import defaultdict
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.events.domain.figures.counting import FactsChange, FigureDelta, deltas_of, row_of
from services.events.domain.figures.definitions import COUNTER_NAMES, TimedSpan
from services.events.domain.figures.facts import (
    MessageFacts,
    decode_facts,
    encode_facts,
    merge_facts,
)
from services.events.domain.log_event import log_event_of
from tests.support.figure_counts import count
from tests.support.figures import HOURS, LIFETIME_H, Life, lives

NOW = datetime(2026, 5, 17, 10, 30, tzinfo=UTC)
TENANTS = ("01890000-0000-7000-8000-000000000001", "01890000-0000-7000-8000-000000000002")
DIMENSIONS = (
    "tenant", "domain", "key", "stream", "recipient_domain", "ip", "site", "bounce_class", "period"
)  # fmt: skip


def hour(moment: datetime) -> str:
    return str(int(moment.timestamp()) // 3600)


def deltas_in_batches(random: Random, some: list[Life]) -> list[FigureDelta]:
    """All events, shuffled and in batches of any size, with the facts stored in between."""
    stored: dict[str, bytes] = {}
    waiting = [(life, event) for life in some for event in life.events]
    random.shuffle(waiting)
    deltas: list[FigureDelta] = []
    while waiting:
        size = random.choice((1, 5, 50))
        batch, waiting = waiting[:size], waiting[size:]
        by_life: dict[str, list[object]] = defaultdict(list)
        for life, event in batch:
            by_life[life.message_id].append(event)
        found = {life.message_id: life for life, _ in batch}
        changes = []
        for message_id, events in by_life.items():
            before = decode_facts(stored.get(message_id, b""))
            after = merge_facts(before, [log_event_of(event) for event in events])
            stored[message_id] = encode_facts(after)
            life = found[message_id]
            changes.append(FactsChange(life.tenant_id, message_id, before, after))
        deltas += deltas_of(changes)
    return deltas


def sums_of(deltas: list[FigureDelta], *, by: str) -> dict[tuple[str, ...], dict[str, int]]:
    found: dict[tuple[str, ...], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for sender, cell, numbers in deltas:
        at = cell.hour if by == "event" else sender.cohort
        key = (
            sender.tenant_id, sender.domain_id, sender.key_id, sender.stream,
            sender.recipient_domain, *cell.place, cell.bounce_class, str(at),
        )  # fmt: skip
        for measure, number in numbers.items():
            if isinstance(measure, str):
                found[key][measure] += number
    nonzero = {key: {k: n for k, n in some.items() if n} for key, some in found.items()}
    return {key: some for key, some in nonzero.items() if some}


@settings(deadline=None)
@given(st.integers(0, 2**32))
@pytest.mark.parametrize("by", ["event", "sent"])
def test_counts_are_those_of_what_happened_in_any_order_and_any_batches(by: str, seed: int) -> None:
    random = Random(seed)
    some = lives(random, 12, tenants=TENANTS, now=NOW)
    found = sums_of(deltas_in_batches(random, some), by=by)
    assert found == count(some, DIMENSIONS, by=by, label=hour)


def test_every_counter_occurs_in_the_lives_of_the_tests() -> None:

    some = lives(Random(1), 500, tenants=TENANTS, now=NOW)
    assert {mark.metric for life in some for mark in life.marks} == set(COUNTER_NAMES)
    hours = {hour(life.accepted_at) for life in some}
    assert len(hours) > (HOURS - LIFETIME_H) / 2


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_each_message_is_once_in_a_histogram(seed: int) -> None:
    random = Random(seed)
    some = [one for one in lives(random, 12, tenants=TENANTS, now=NOW) if not one.test]
    found: dict[TimedSpan, int] = defaultdict(int)
    for delta in deltas_in_batches(random, some):
        row = row_of(delta)
        for timing in TimedSpan:
            buckets = row.get(timing.name.lower(), ())
            found[timing] += sum(1 if signed > 0 else -1 for signed in buckets)
    delivered = sum(mark.metric == "delivered" for life in some for mark in life.marks)
    assert found[TimedSpan.DELIVERY] == delivered
    assert found[TimedSpan.FIRST_ATTEMPT] >= delivered


def test_nothing_is_counted_before_the_accept_is_known() -> None:
    life = next(
        one for one in lives(Random(2), 50, tenants=TENANTS, now=NOW) if len(one.events) > 5
    )
    events = [log_event_of(event) for event in life.events[1:]]
    facts = merge_facts(None, events)
    assert isinstance(facts, MessageFacts)
    change = FactsChange(life.tenant_id, life.message_id, None, facts)
    assert deltas_of([change]) == []
