"""Which hits are events, which are repeats, and which are a machine's."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events.v1.events_pb2 import (
    MACHINE_CERTAINTY_CERTAIN,
    MACHINE_CERTAINTY_PROBABLE,
    LinkClicked,
    MessageOpened,
    RecipientUnsubscribed,
)
from kernel.days import DAY_MS
from kernel.redaction import ERASED
from kernel.topics import event_id
from mail.bot_hits import default_rules, parse_rules
from mail.tracking import TrackingMode
from services.events.domain.engagement import (
    STORED_MAX,
    DeliveredMessage,
    EngagementCounts,
    pack_stored,
    record_hits,
    unpack_stored,
)
from services.events.domain.erasure import without_recipient
from services.events.domain.hit import (
    ClientAnonymizer,
    HitKind,
    RecordedHit,
    RequestClient,
    decode_hit,
    encode_hit,
)
from services.events.domain.log_event import log_event_of

MESSAGE_ID = "01a21f53-9e27-7000-9aa0-821cb95b7018"
EMAIL_ID = "01a21f53-9e27-7000-9aa0-821cb95b7017"
TENANT_ID = "5e6f7e39-9c6f-4a37-a9b4-b7a7a1b1a3d1"
MESSAGE = DeliveredMessage(
    MESSAGE_ID, EMAIL_ID, TENANT_ID, "", "ann@example.net", test=False, delivered_ms=1_000_000
)
NONE_YET = EngagementCounts(MESSAGE_ID, EMAIL_ID, TENANT_ID)
NETWORKS = """
[[rule]]
reason = "link_scanner"
certainty = "probable"
kind = "click"
networks = ["203.0.113.0/24"]
"""
RULES = default_rules() + parse_rules(NETWORKS)
REDUCER = ClientAnonymizer(b"k" * 32, RULES)
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15"
LATER_MS = 2_000_000


def hit(kind: HitKind, **fields: Any) -> RecordedHit:  # noqa: ANN401
    ip, agent = fields.pop("ip", "192.0.2.77"), fields.pop("agent", SAFARI)
    method = fields.pop("method", "GET")
    known = {"mode": TrackingMode.IDENTIFIED, "at_ms": LATER_MS} | fields
    made = RecordedHit(kind, tenant_id=TENANT_ID, message_id=MESSAGE_ID, **known)
    return REDUCER.reduce(made, RequestClient(ip, agent, method))


def click(link: str = "https://shop.example/", **fields: Any) -> RecordedHit:  # noqa: ANN401
    return hit(HitKind.CLICK, target=link, **fields)


def opened(**fields: Any) -> RecordedHit:  # noqa: ANN401
    return hit(HitKind.OPEN, **fields)


def record(
    *hits: RecordedHit, before: EngagementCounts = NONE_YET
) -> tuple[EngagementCounts, list[Any]]:
    return record_hits(before, hits, message=MESSAGE, rules=RULES)


def test_a_click_is_an_event_with_what_its_mode_keeps() -> None:
    after, [event] = record(click())
    assert isinstance(event, LinkClicked)
    assert (event.link, event.recipient, event.email_id) == (
        "https://shop.example/", "ann@example.net", EMAIL_ID,
    )  # fmt: skip
    assert (event.hit.ip, event.hit.user_agent) == ("192.0.2.0/24", "Apple Mail, iOS")
    assert event.first
    assert event.hit.machine == 0
    assert (after.clicks, after.opens, after.first_clicked_ms) == (1, 0, LATER_MS)


@pytest.mark.parametrize(
    ("mode", "ip", "agent", "recipient"),
    [
        (TrackingMode.PSEUDONYMOUS, "", "", ""),
        (TrackingMode.IDENTIFIED, "2001:db8:1::/48", "Apple Mail, iOS", "ann@example.net"),
        (TrackingMode.FULL, "2001:db8:1:2::3", SAFARI, "ann@example.net"),
    ],
)
def test_a_mode_decides_what_is_kept_before_anything_is_written(
    mode: TrackingMode, ip: str, agent: str, recipient: str
) -> None:
    spooled = encode_hit(opened(mode=mode, ip="2001:db8:1:2::3"))
    assert (b"2001:db8:1:2::3" in spooled) == (mode == TrackingMode.FULL)
    _, [event] = record(decode_hit(spooled))
    assert (event.hit.ip, event.hit.user_agent, event.recipient) == (ip, agent, recipient)


def test_an_anonymous_hit_is_only_counted() -> None:
    after, events = record(opened(mode=TrackingMode.ANONYMOUS))
    assert (after.opens, after.stored, events) == (1, (), [])


def test_a_repeat_within_a_minute_is_no_event() -> None:
    after, events = record(click(), click(at_ms=LATER_MS + 1_000), click(ip="192.0.2.200"))
    assert (after.clicks, len(events)) == (1, 1)
    again, none = record(click(), before=after)
    assert (again, none) == (after, [])
    more, [event] = record(click(at_ms=LATER_MS + 60_000), before=after)
    assert more.clicks == 2
    assert not event.first


def test_the_ids_of_events_are_those_of_their_contract() -> None:
    after, [event] = record(click())
    assert after.stored[0].event_id.hex() == event_id(event).replace("-", "")


def test_beyond_the_maximum_hits_are_only_counted() -> None:
    hits = [opened(at_ms=LATER_MS + 60_000 * n) for n in range(STORED_MAX + 10)]
    after, events = record(*hits)
    assert (after.opens, len(after.stored), len(events)) == (
        STORED_MAX + 10,
        STORED_MAX,
        STORED_MAX,
    )
    assert [event.first for event in events].count(True) == 1
    assert unpack_stored(pack_stored(after.stored)) == after.stored
    assert len(pack_stored(after.stored)) == 40 * STORED_MAX


@pytest.mark.parametrize(
    ("hits", "reason"),
    [
        ([click(method="HEAD")], "head_request"),
        ([click(at_ms=MESSAGE.delivered_ms + 1_500)], "too_soon"),
        ([click(f"https://x.example/{n}", at_ms=LATER_MS + n * 300) for n in range(3)], "burst"),
        ([opened(agent="Mozilla/5.0")], "privacy_proxy"),
        ([click(agent="curl/8.5.0")], "program"),
    ],
)
def test_certain_machines_are_counted_apart(hits: list[RecordedHit], reason: str) -> None:
    after, events = record(*hits)
    assert {event.hit.machine_reason for event in events} == {reason}
    assert {event.hit.machine for event in events} == {MACHINE_CERTAINTY_CERTAIN}
    assert (after.opens, after.clicks) == (0, 0)
    assert after.machine_opens + after.machine_clicks == len(hits)


def test_what_is_only_probable_counts() -> None:
    after, events = record(
        click("https://x.example/1", ip="203.0.113.5"),
        click("https://x.example/2", at_ms=LATER_MS + 2_000),
        click("https://x.example/2", at_ms=LATER_MS + 7_000, ip="198.51.100.1"),
    )
    assert [event.hit.machine_reason for event in events] == [
        "link_scanner", "", "followed_elsewhere",
    ]  # fmt: skip
    assert events[0].hit.machine == events[2].hit.machine == MACHINE_CERTAINTY_PROBABLE
    assert (after.clicks, after.machine_clicks) == (3, 0)


def test_head_and_get_of_the_same_client_are_two_hits() -> None:
    after, events = record(click(method="HEAD"), click())
    assert (after.clicks, after.machine_clicks, len(events)) == (1, 1, 2)


def test_of_two_clicks_in_one_millisecond_neither_came_after_the_other() -> None:
    _, [first, second] = record(click(), click(method="HEAD"))
    assert (first.hit.machine, second.hit.machine_reason) == (0, "head_request")


def test_an_open_and_a_click_at_once_are_a_persons() -> None:
    after, events = record(opened(), click(at_ms=LATER_MS + 3))
    assert (after.opens, after.clicks) == (1, 1)
    assert isinstance(events[0], MessageOpened)


def test_unsubscribing_twice_is_one_event_id_per_day() -> None:
    first_ms = 20_000 * DAY_MS + 1
    leaves = RecordedHit(
        HitKind.UNSUBSCRIBE, TrackingMode.IDENTIFIED, TENANT_ID, MESSAGE_ID, first_ms,
        target="offers", method="one_click",
    )  # fmt: skip
    repeat = msgspec.structs.replace(leaves, at_ms=first_ms + DAY_MS - 2)
    anew = msgspec.structs.replace(leaves, at_ms=first_ms + DAY_MS)
    after, events = record(leaves, repeat, anew)
    assert leaves.key == repeat.key != anew.key
    assert event_id(events[0]) == event_id(events[1]) != event_id(events[2])
    assert isinstance(events[0], RecipientUnsubscribed)
    assert (events[0].scope, events[0].list, events[0].method) == (
        "list/offers", "offers", "one_click",
    )  # fmt: skip
    assert after == replace(NONE_YET, unsubscribed_ms=first_ms)


@pytest.mark.parametrize("named", ["ann@example.net", ""])
def test_an_erased_recipient_who_unsubscribes_is_named_by_the_link(named: str) -> None:
    leaves = hit(HitKind.UNSUBSCRIBE, recipient=named, at_ms=20_000 * DAY_MS)
    erased = MESSAGE._replace(recipient=ERASED)
    _, [event] = record_hits(NONE_YET, [leaves], message=erased, rules=RULES)
    assert isinstance(event, RecipientUnsubscribed)
    assert event.recipient == (named or ERASED)
    assert event.email_id == EMAIL_ID
    logged = without_recipient(log_event_of(event))
    assert isinstance(logged.payload, RecipientUnsubscribed)
    assert (logged.recipient, logged.payload.recipient) == (ERASED, ERASED)


@given(st.text(max_size=50), st.text(max_size=50), st.sampled_from(list(TrackingMode)[1:]))
def test_any_client_is_reduced(ip: str, agent: str, mode: TrackingMode) -> None:
    made = opened(ip=ip, agent=agent, mode=mode)
    assert decode_hit(encode_hit(made)) == made
    assert len(made.source) == 16
