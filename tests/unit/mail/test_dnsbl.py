"""Names and answers of DNS block lists."""

from collections.abc import Generator, Mapping
from itertools import permutations
from typing import TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.resolver import LookupResult
from mail.dnsbl import (
    Answer,
    AnswerMeaning,
    Blocklist,
    EntryKind,
    ListFailure,
    look_up,
    query_name,
    self_test,
)

T = TypeVar("T")
SPAM, DROP = AnswerMeaning("spam", 8.0), AnswerMeaning("drop", 10.0)
ZEN = Blocklist(
    "zen",
    "secret1.zen.example",
    frozenset({EntryKind.IPV4, EntryKind.IPV6}),
    answers={"127.0.0.2": SPAM, "127.0.0.9": DROP},
    key="secret1",
)
MULTI = Blocklist(
    "multi",
    "multi.example",
    frozenset({EntryKind.DOMAIN}),
    bits={8: AnswerMeaning("phishing", 8.0), 64: AnswerMeaning("abuse", 6.0)},
    link_addresses=True,
)


def found(*values: str, ttl_s: float = 0.0) -> LookupResult:
    return LookupResult(values, ttl_s=ttl_s)


def run(
    queries: Generator[tuple[str, str], LookupResult | None, T],
    records: Mapping[tuple[str, str], LookupResult | None],
) -> T:
    """What the queries return, with these records and no others."""
    try:
        query = next(queries)
        while True:
            query = queries.send(records.get(query, LookupResult()))
    except StopIteration as end:
        return cast(T, end.value)


def test_the_octets_and_nibbles_are_reversed() -> None:
    assert query_name("192.0.2.99", "bl.example") == "99.2.0.192.bl.example"
    assert query_name("2001:db8:1:2:3:4:567:89ab", "bl.example") == (
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example"
    )
    assert query_name("shop.example", "bl.example") == "shop.example.bl.example"


def test_the_test_entries_are_those_of_the_rfc() -> None:
    assert ZEN.tests() == [
        ("127.0.0.2", True), ("127.0.0.1", False),
        ("::ffff:7f00:2", True), ("::ffff:7f00:1", False),
    ]  # fmt: skip
    assert MULTI.tests() == [("test", True), ("invalid", False)]
    assert query_name("::ffff:7f00:2", "z") == f"2.0.0.0.0.0.f.7.f.f.f.f.{'0.' * 20}z"


@pytest.mark.parametrize(
    ("answers", "listed", "failure"),
    [
        (found("127.0.0.2"), True, None),
        (found("127.0.0.2", "127.0.0.9"), True, None),
        (found(), False, None),
        (None, None, ListFailure.UNANSWERED),
        (found("203.0.113.7"), None, ListFailure.UNDOCUMENTED),  # the zone has moved
        (found("127.0.0.1"), None, ListFailure.UNDOCUMENTED),
        (found("127.0.0.2", "127.0.0.77"), None, ListFailure.UNDOCUMENTED),
        (found("127.255.255.252"), None, ListFailure.REFUSED),  # a mistyped zone
        (found("127.255.255.254"), None, ListFailure.REFUSED),  # an open resolver
        (found("127.0.0.2", "127.255.255.255"), None, ListFailure.REFUSED),  # too many queries
        (found("not an address"), None, ListFailure.UNDOCUMENTED),
    ],
)
def test_only_documented_answers_are_listings(
    answers: LookupResult | None, listed: bool | None, failure: ListFailure | None
) -> None:
    answer = ZEN.read(answers)
    assert (answer.listed, answer.failure) == (listed, failure)
    assert bool(answer.weight) == bool(listed)


def test_the_heaviest_meaning_of_an_answer_decides() -> None:
    answer = ZEN.read(found("127.0.0.2", "127.0.0.9", ttl_s=60.0))
    assert answer == Answer(True, ("127.0.0.2", "127.0.0.9"), "spam; drop", weight=10.0, ttl_s=60.0)


@pytest.mark.parametrize(
    ("code", "meaning", "failure"),
    [
        ("127.0.0.8", "phishing", None),
        ("127.0.0.72", "phishing; abuse", None),
        ("127.0.0.1", "", ListFailure.REFUSED),
        ("127.0.0.9", "", ListFailure.REFUSED),
        ("127.0.0.4", "", ListFailure.UNDOCUMENTED),
        ("127.0.0.12", "", ListFailure.UNDOCUMENTED),
        ("127.0.0.0", "", ListFailure.UNDOCUMENTED),
        ("127.0.1.8", "", ListFailure.UNDOCUMENTED),
        ("127.255.255.254", "", ListFailure.REFUSED),
    ],
)
def test_an_answer_of_bits_means_all_that_are_set(
    code: str, meaning: str, failure: ListFailure | None
) -> None:
    answer = MULTI.read(found(code))
    assert (answer.meaning, answer.failure) == (meaning, failure)
    assert (answer.listed is True) is (failure is None)


def test_a_list_of_domains_may_have_the_addresses_of_links() -> None:
    assert MULTI.has_kind_of("192.0.2.1")
    assert MULTI.has_kind_of("shop.example")
    assert not MULTI.has_kind_of("2001:db8::1")
    assert ZEN.has_kind_of("2001:db8::1")
    assert not ZEN.has_kind_of("shop.example")


def test_the_reason_is_looked_up_for_a_listing_only_and_hides_the_key() -> None:
    name = "1.2.0.192.secret1.zen.example"
    text = found("see \x00https://zen.example/?q=192.0.2.1&k=SECRET1 secret1", "x" * 5000)
    records = {(name, "A"): found("127.0.0.2"), (name, "TXT"): text}
    answer = run(look_up(ZEN, "192.0.2.1", with_text=True), records)
    assert answer.text.startswith("see https://zen.example/?q=192.0.2.1")
    assert "secret1" not in answer.text.lower()
    assert len(answer.text) <= 300
    assert run(look_up(ZEN, "192.0.2.1"), records).text == ""
    assert run(look_up(ZEN, "192.0.2.2", with_text=True), records).listed is False
    failing = {**records, (name, "TXT"): None}
    assert run(look_up(ZEN, "192.0.2.1", with_text=True), failing).listed
    assert "secret1" not in repr(ZEN)


def good() -> dict[tuple[str, str], LookupResult | None]:
    zone = ZEN.zone
    return {
        (query_name(one, zone), "A"): found("127.0.0.2") for one in ("127.0.0.2", "::ffff:7f00:2")
    }


@pytest.mark.parametrize(
    ("entry", "answer", "failure"),
    [
        ("127.0.0.2", found("127.0.0.2"), None),
        ("127.0.0.2", found(), ListFailure.LISTS_NOTHING),
        ("::ffff:7f00:2", found(), ListFailure.LISTS_NOTHING),
        ("127.0.0.1", found("127.0.0.2"), ListFailure.LISTS_EVERYTHING),
        ("::ffff:7f00:1", found("127.0.0.2"), ListFailure.LISTS_EVERYTHING),
        ("127.0.0.2", None, ListFailure.UNANSWERED),
        ("127.0.0.1", None, ListFailure.UNANSWERED),
        ("127.0.0.2", found("127.255.255.254"), ListFailure.REFUSED),
        ("127.0.0.2", found("192.0.2.1"), ListFailure.UNDOCUMENTED),
    ],
)
def test_a_self_test_finds_lists_that_are_dead_or_refuse(
    entry: str, answer: LookupResult | None, failure: ListFailure | None
) -> None:
    records = {**good(), (query_name(entry, ZEN.zone), "A"): answer}
    assert run(self_test(ZEN), records) is failure


@given(st.lists(st.one_of(st.ip_addresses(v=4).map(str), st.text(max_size=20)), max_size=12))
def test_no_answer_of_a_hostile_server_breaks_the_reader(values: list[str]) -> None:
    for blocklist in (ZEN, MULTI):
        answer = blocklist.read(found(*values))
        if answer.listed:
            assert answer.weight > 0
            assert all(code.startswith("127.0.0.") for code in answer.codes)
        assert len(answer.codes) <= 8


def test_every_cut_and_order_of_an_answer_is_a_listing_or_a_failure() -> None:
    whole = ("127.0.0.2", "127.0.0.9", "127.255.255.254", "203.0.113.7")
    for count in range(len(whole) + 1):
        for values in permutations(whole, count):
            answer = ZEN.read(found(*values))
            is_documented = set(values) <= {"127.0.0.2", "127.0.0.9"}
            assert answer.listed is (bool(values) if is_documented else None)


@given(st.text(max_size=400))
def test_text_of_strangers_is_bounded_and_printable(text: str) -> None:
    shown = ZEN.hide_key(f"{text} secret1")
    assert len(shown) <= 300
    assert shown.isprintable()
    assert "secret1" not in shown
