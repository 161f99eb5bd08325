"""The caching resolver, over a fake resolver."""

import asyncio
from collections import Counter
from typing import Any, cast

import dns.asyncresolver
import dns.resolver
import pytest

from kernel import clock
from kernel.resolver import EmptyAnswer
from services.delivery.clients.dns import (
    NEGATIVE_TTL_S,
    STALE_S,
    TTL_MAX_S,
    TTL_MIN_S,
    CachingResolver,
    NoSuchHost,
)

NXDOMAIN = dns.resolver.NXDOMAIN()  # type: ignore[no-untyped-call]
NO_ANSWER = dns.resolver.NoAnswer()  # type: ignore[no-untyped-call]
TIMEOUT = dns.resolver.LifetimeTimeout()  # type: ignore[no-untyped-call]
REFUSED = dns.resolver.NoNameservers()  # type: ignore[no-untyped-call]
EMPTY = EmptyAnswer()  # type: ignore[no-untyped-call]


SILENCE = Exception()


class Records:
    """The records of a host, and the queries for them."""

    def __init__(self, ttl: int, **records: "list[str] | Exception") -> None:
        self.ttl = ttl
        self.records = records
        self.queries: Counter[str] = Counter()

    async def resolve(self, host: str, kind: str, lifetime: float) -> "Answer":
        self.queries[kind] += 1
        await asyncio.sleep(0)
        if kind not in self.records:
            raise dns.resolver.NoAnswer
        records = self.records[kind]
        if records is SILENCE:
            await asyncio.Event().wait()
        if isinstance(records, Exception):
            raise records
        return Answer(records, self.ttl)


class Answer(list[Any]):
    def __init__(self, texts: list[str], ttl: int) -> None:
        super().__init__(Text(text) for text in texts)
        self.rrset = self
        self.ttl = ttl


class Text(str):
    __slots__ = ()

    def to_text(self) -> str:
        return str(self)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, which the test sets."""
    moment = [1000.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: moment[0])
    return moment


def resolver_for(records: Records) -> CachingResolver:
    return CachingResolver(cast(dns.asyncresolver.Resolver, records))


def lookup(resolver: CachingResolver, host: str = "mx.example") -> list[str]:
    return [str(address) for address in asyncio.run(resolver.addresses(host))]


def test_both_families_are_found(now: list[float]) -> None:
    records = Records(300, A=["192.0.2.1", "192.0.2.2"], AAAA=["2001:db8::1"])
    assert lookup(resolver_for(records)) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]


@pytest.mark.parametrize("literal", ["192.0.2.7", "[192.0.2.7]"])
def test_an_address_literal_is_not_queried(literal: str) -> None:
    records = Records(300)
    assert lookup(resolver_for(records), literal) == ["192.0.2.7"]
    assert not records.queries


@pytest.mark.parametrize(("ttl", "cached_s"), [(300, 300), (0, TTL_MIN_S), (10 * 86400, TTL_MAX_S)])
def test_an_answer_is_cached_for_its_ttl_within_bounds(
    now: list[float], ttl: int, cached_s: float
) -> None:
    records = Records(ttl, A=["192.0.2.1"])
    resolver = resolver_for(records)
    lookup(resolver)
    now[0] += cached_s - 1
    lookup(resolver)
    assert records.queries["A"] == 1
    now[0] += 2
    lookup(resolver)
    assert records.queries["A"] == 2


def test_a_missing_answer_is_cached_only_briefly(now: list[float]) -> None:
    records = Records(300, A=TIMEOUT)
    resolver = resolver_for(records)
    assert lookup(resolver) == []
    records.records["A"] = ["192.0.2.1"]
    assert lookup(resolver) == []
    now[0] += NEGATIVE_TTL_S + 1
    assert lookup(resolver) == ["192.0.2.1"]


@pytest.mark.parametrize("failed", ["A", "AAAA"])
def test_an_answer_for_one_family_is_used_and_cached_only_briefly(
    now: list[float], failed: str
) -> None:
    both: dict[str, Any] = {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]}
    both_addresses = [address for addresses in both.values() for address in addresses]
    records = Records(3600, **both | {failed: TIMEOUT})
    resolver = resolver_for(records)
    assert lookup(resolver) == [one for one in both_addresses if one not in both[failed]]
    records.records = both
    now[0] += NEGATIVE_TTL_S + 1
    assert lookup(resolver) == both_addresses


@pytest.mark.parametrize("answer", [NXDOMAIN, NO_ANSWER])
def test_a_host_without_any_address_record_does_not_exist(
    now: list[float], answer: Exception
) -> None:
    resolver = resolver_for(Records(300, A=answer, AAAA=answer))
    for _ in range(2):
        with pytest.raises(NoSuchHost):
            lookup(resolver)


def test_a_host_may_exist_if_the_query_for_one_family_fails(now: list[float]) -> None:
    records = Records(300, A=NO_ANSWER, AAAA=TIMEOUT)
    assert lookup(resolver_for(records)) == []


def test_simultaneous_lookups_of_a_host_send_one_query(now: list[float]) -> None:
    records = Records(300, A=["192.0.2.1"])
    resolver = resolver_for(records)

    async def all_at_once() -> None:
        await asyncio.gather(*(resolver.addresses("mx.example") for _ in range(20)))

    asyncio.run(all_at_once())
    assert records.queries["A"] == 1


@pytest.mark.parametrize("failure", [TIMEOUT, REFUSED, EMPTY])
def test_known_addresses_are_used_for_a_while_after_their_ttl_if_dns_does_not_answer(
    now: list[float], failure: Exception
) -> None:
    records = Records(300, A=["192.0.2.1"])
    resolver = resolver_for(records)
    lookup(resolver)
    records.records = {"A": failure, "AAAA": failure}
    now[0] += 301
    for _ in range(2):
        assert lookup(resolver) == ["192.0.2.1"]
    assert records.queries["A"] == 2, "not one query for each message"
    records.records = {"A": ["192.0.2.2"]}
    now[0] += NEGATIVE_TTL_S + 1
    assert lookup(resolver) == ["192.0.2.2"], "as soon as DNS answers again"
    records.records = {"A": failure, "AAAA": failure}
    now[0] += 300 + STALE_S + 1
    assert lookup(resolver) == []


def test_addresses_that_are_gone_for_certain_are_not_used(now: list[float]) -> None:
    records = Records(300, A=["192.0.2.1"])
    resolver = resolver_for(records)
    lookup(resolver)
    records.records = {"A": NXDOMAIN}
    now[0] += 301
    with pytest.raises(NoSuchHost):
        lookup(resolver)


async def test_a_message_does_not_wait_long_for_dns_if_addresses_are_known(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.delivery.clients.dns.STALE_AFTER_S", 0.0)
    records = Records(300, A=["192.0.2.1"])
    resolver = resolver_for(records)
    await resolver.addresses("mx.example")
    records.records = {"A": SILENCE, "AAAA": SILENCE}
    now[0] += 301
    found = await resolver.addresses("mx.example")
    assert [str(one) for one in found] == ["192.0.2.1"]


def test_an_empty_response_does_not_mean_that_a_host_does_not_exist(now: list[float]) -> None:
    assert lookup(resolver_for(Records(300, A=EMPTY, AAAA=EMPTY))) == []
    records = Records(300, A=["192.0.2.1"], AAAA=EMPTY)
    resolver = resolver_for(records)
    lookup(resolver)
    now[0] += NEGATIVE_TTL_S + 1
    assert lookup(resolver) == ["192.0.2.1"]
    assert records.queries["A"] == 1, "of one family it does: cached for its TTL"
