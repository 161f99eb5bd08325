"""The addresses of mail exchangers, from a resolver that answers as told."""

import asyncio
from collections import Counter
from typing import Any, cast

import dns.asyncresolver
import dns.resolver
import pytest

from kernel import clock
from services.delivery.clients.dns import (
    NEGATIVE_TTL_S,
    TTL_MAX_S,
    TTL_MIN_S,
    CachingResolver,
    NoSuchHost,
)

NXDOMAIN = dns.resolver.NXDOMAIN()  # type: ignore[no-untyped-call]
NO_ANSWER = dns.resolver.NoAnswer()  # type: ignore[no-untyped-call]
TIMEOUT = dns.resolver.LifetimeTimeout()  # type: ignore[no-untyped-call]


class Records:
    """A zone, and how often it was tried."""

    def __init__(self, ttl: int, **records: "list[str] | Exception") -> None:
        self.ttl = ttl
        self.records = records
        self.tried: Counter[str] = Counter()

    async def resolve(self, host: str, kind: str, lifetime: float) -> "Answer":
        self.tried[kind] += 1
        await asyncio.sleep(0)
        if kind not in self.records:
            raise dns.resolver.NoAnswer
        records = self.records[kind]
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
    """The clock, to be set."""
    moment = [1000.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: moment[0])
    return moment


def names(records: Records) -> CachingResolver:
    return CachingResolver(resolver=cast(dns.asyncresolver.Resolver, records))


def ask(resolver: CachingResolver, host: str = "mx.example") -> list[str]:
    return [str(address) for address in asyncio.run(resolver.addresses(host))]


def test_both_families_are_found(now: list[float]) -> None:
    records = Records(300, A=["192.0.2.1", "192.0.2.2"], AAAA=["2001:db8::1"])
    assert ask(names(records)) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]


@pytest.mark.parametrize("literal", ["192.0.2.7", "[192.0.2.7]"])
def test_an_address_is_not_asked_for(literal: str) -> None:
    records = Records(300)
    assert ask(names(records), literal) == ["192.0.2.7"]
    assert not records.tried


@pytest.mark.parametrize(("ttl", "kept_s"), [(300, 300), (0, TTL_MIN_S), (10 * 86400, TTL_MAX_S)])
def test_an_answer_is_kept_as_long_as_its_owner_says_within_reason(
    now: list[float], ttl: int, kept_s: float
) -> None:
    records = Records(ttl, A=["192.0.2.1"])
    resolver = names(records)
    ask(resolver)
    now[0] += kept_s - 1
    ask(resolver)
    assert records.tried["A"] == 1
    now[0] += 2
    ask(resolver)
    assert records.tried["A"] == 2


def test_no_answer_is_believed_for_a_short_while_only(now: list[float]) -> None:
    records = Records(300, A=TIMEOUT)
    resolver = names(records)
    assert ask(resolver) == []
    records.records["A"] = ["192.0.2.1"]
    assert ask(resolver) == []
    now[0] += NEGATIVE_TTL_S + 1
    assert ask(resolver) == ["192.0.2.1"]


@pytest.mark.parametrize("failed", ["A", "AAAA"])
def test_half_an_answer_is_used_and_asked_for_again_soon(now: list[float], failed: str) -> None:
    both: dict[str, Any] = {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]}
    whole = [address for addresses in both.values() for address in addresses]
    records = Records(3600, **both | {failed: TIMEOUT})
    resolver = names(records)
    assert ask(resolver) == [one for one in whole if one not in both[failed]]
    records.records = both
    now[0] += NEGATIVE_TTL_S + 1
    assert ask(resolver) == whole


@pytest.mark.parametrize("answer", [NXDOMAIN, NO_ANSWER])
def test_a_host_of_which_dns_says_that_it_is_not_does_not_exist(
    now: list[float], answer: Exception
) -> None:
    resolver = names(Records(300, A=answer, AAAA=answer))
    for _ in range(2):
        with pytest.raises(NoSuchHost):
            ask(resolver)


def test_a_host_that_may_have_another_address_may_exist(now: list[float]) -> None:
    records = Records(300, A=NO_ANSWER, AAAA=TIMEOUT)
    assert ask(names(records)) == []


def test_what_many_ask_at_once_is_asked_once(now: list[float]) -> None:
    records = Records(300, A=["192.0.2.1"])
    resolver = names(records)

    async def all_at_once() -> None:
        await asyncio.gather(*(resolver.addresses("mx.example") for _ in range(20)))

    asyncio.run(all_at_once())
    assert records.tried["A"] == 1
