"""Routes of domains from DNS answers: RFC 5321 §5.1, RFC 7505."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import dns.asyncresolver
import dns.name
import dns.resolver
import pytest

from kernel import clock
from kernel.resolver import EmptyAnswer
from services.router.clients.dns import (
    MAIL_LOOP,
    NO_DOMAIN,
    NO_MX,
    NULL_MX,
    RETRY_MIN_S,
    RouteResolver,
)
from services.router.domain.egress import EgressSource, EgressSources
from services.router.domain.routes import Answer, LookupFailure, MxHost, Route, StaticRoutes


@dataclass
class FakeDns:
    """records: by (name, type). A missing name does not exist; a missing type has no answer."""

    records: dict[tuple[str, str], Any]
    queries: list[tuple[str, str]] = field(default_factory=list)

    async def resolve(self, name: str, kind: str, *, raise_on_no_answer: bool = True) -> Any:  # noqa: ANN401
        self.queries.append((name, kind))
        await asyncio.sleep(0)
        if not any(existing == name for existing, _ in self.records):
            raise dns.resolver.NXDOMAIN
        found = self.records.get((name, kind))
        if isinstance(found, Exception):
            raise found
        return SimpleNamespace(rrset=found)


class RecordSet(list[Any]):
    ttl = 300


def mx(*records: tuple[int, str]) -> RecordSet:
    return RecordSet(
        SimpleNamespace(preference=preference, exchange=dns.name.from_text(host))
        for preference, host in records
    )


def create_resolver(fake: FakeDns, on_answer: Callable[[], None] = lambda: None) -> RouteResolver:
    return RouteResolver(
        cast(dns.asyncresolver.Resolver, fake),
        StaticRoutes(),
        own_names=lambda: frozenset({"mail.self.test"}),
        on_answer=on_answer,
        shuffle=lambda records: records.reverse(),
    )


def look_up(fake: FakeDns, domain: str = "example.com") -> Answer | None:
    async def scenario() -> Answer | None:
        answered = asyncio.Event()
        resolver = create_resolver(fake, answered.set)
        assert resolver.lookup(domain) is None
        await answered.wait()
        return resolver.lookup(domain)

    return asyncio.run(scenario())


def test_mx_hosts_are_sorted_by_preference_and_equal_ones_shuffled() -> None:
    found = mx((20, "b.mx.test."), (10, "a.mx.test."), (10, "c.mx.test."))
    answer = look_up(FakeDns({("example.com", "MX"): found}))
    assert isinstance(answer, Route)
    assert answer.site == "mx.test"
    assert [one.host for one in answer.mx_hosts] == ["c.mx.test", "a.mx.test", "b.mx.test"]


@pytest.mark.parametrize(
    ("records", "answer"),
    [
        ({("example.com", "MX"): mx((0, "."))}, NULL_MX),
        ({("example.com", "MX"): mx((0, "."), (10, "."))}, NULL_MX),
        ({}, NO_DOMAIN),
        ({("example.com", "TXT"): RecordSet()}, NO_MX),
        ({("example.com", "MX"): mx((10, "mail.self.test."))}, MAIL_LOOP),
    ],
)
def test_a_domain_that_accepts_no_mail_has_no_route(
    records: dict[tuple[str, str], Any], answer: Answer
) -> None:
    assert look_up(FakeDns(records)) == answer


def test_a_domain_without_mx_records_is_its_own_mx_host() -> None:
    answer = look_up(FakeDns({("example.com", "AAAA"): RecordSet(["::1"])}))
    assert answer == Route("example.com", (MxHost("example.com", 0, 0),))


@pytest.mark.parametrize(
    "error", [dns.resolver.NoNameservers, dns.resolver.LifetimeTimeout, EmptyAnswer]
)
def test_a_failed_lookup_is_retried_later(error: type[Exception]) -> None:
    answer = look_up(FakeDns({("example.com", "MX"): error()}))
    assert isinstance(answer, LookupFailure)
    assert answer.retry_s > 0


@pytest.mark.parametrize("kind", ["MX", "A", "AAAA"])
def test_an_empty_response_does_not_mean_that_a_domain_has_no_mail(kind: str) -> None:
    answer = look_up(FakeDns({("example.com", kind): EmptyAnswer()}))  # type: ignore[no-untyped-call]
    assert isinstance(answer, LookupFailure)


def test_an_empty_response_for_mx_records_leaves_the_address_of_the_domain() -> None:
    records = {("example.com", "MX"): EmptyAnswer(), ("example.com", "A"): RecordSet(["::1"])}  # type: ignore[no-untyped-call]
    assert isinstance(look_up(FakeDns(records)), Route)


async def test_all_domains_are_tried_again_soon_after_dns_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now[0])
    answered = asyncio.Event()
    silent = dns.resolver.LifetimeTimeout()  # type: ignore[no-untyped-call]
    fake = FakeDns({("a.test", "MX"): silent, ("b.test", "MX"): mx((10, "mx.test."))})
    resolver = create_resolver(fake, answered.set)

    async def look_up_again(domain: str = "a.test") -> Answer | None:
        now[0] += 1000
        answered.clear()
        resolver.lookup(domain)
        await answered.wait()
        return resolver.lookup(domain)

    delays = [await look_up_again() for _ in range(4)]
    assert {one.retry_s for one in delays if isinstance(one, LookupFailure)} == {RETRY_MIN_S}
    for delay_s in (2 * RETRY_MIN_S, 4 * RETRY_MIN_S):
        assert isinstance(await look_up_again("b.test"), Route)
        found = await look_up_again()
        assert isinstance(found, LookupFailure)
        assert found.retry_s == delay_s, "DNS is there, but not that of the domain"
    await resolver.close()


def test_mx_hosts_less_preferred_than_our_own_are_left_out() -> None:
    found = mx((10, "a.test."), (20, "mail.self.test."), (30, "c.test."))
    answer = look_up(FakeDns({("example.com", "MX"): found}))
    assert isinstance(answer, Route)
    assert [one.host for one in answer.mx_hosts] == ["a.test"]


def test_the_ehlo_names_of_all_egress_sources_are_our_own() -> None:
    sources = [
        EgressSource("e1", "p", "192.0.2.1", "out1.self.test"),
        EgressSource("e2", "p", "", ""),
    ]
    known = EgressSources()
    known.replace(sources)
    assert known.ehlo_names == {"out1.self.test", ""}


def test_a_paused_egress_source_sends_no_mail_and_its_ehlo_name_is_still_our_own() -> None:
    known = EgressSources()
    known.replace([EgressSource("e1", "p", "192.0.2.1", "out1.self.test", paused=True)])
    assert known.ehlo_names == {"out1.self.test"}
    assert known.get("e1") is None
    assert not known.rotation("p", "site").available


async def test_concurrent_lookups_are_bounded() -> None:
    fake = FakeDns({})
    resolver = create_resolver(fake)
    for number in range(3000):
        assert resolver.lookup(f"d{number}.example") is None
    await asyncio.sleep(0)
    assert len({name for name, _ in fake.queries}) == 100
    await resolver.close()


async def test_a_thousand_messages_to_one_domain_cause_one_lookup() -> None:
    answered = asyncio.Event()
    fake = FakeDns({("example.com", "MX"): mx((10, "a.mx.test."))})
    resolver = create_resolver(fake, answered.set)
    for _ in range(1000):
        assert resolver.lookup("example.com") is None
    await answered.wait()
    assert {resolver.cached_site("example.com") for _ in range(1000)} == {"mx.test"}
    assert fake.queries == [("example.com", "MX")]
