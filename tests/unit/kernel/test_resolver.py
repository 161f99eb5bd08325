"""Lookups at the authoritative servers, not in the caches in front of them."""

import pytest

from kernel.resolver import (
    AuthoritativeResolver,
    EmptyAnswer,
    LookupFailed,
    LookupResult,
    look_up,
    system_resolver,
)
from tests.support.name_server import NOTHING, REFUSED, SERVFAIL, SILENT, name_server

ZONES = {
    "customer.org": {
        "SOA": ["ns1.customer.org. host.customer.org. 1 2 3 4 5"],
        "NS": ["ns1.customer.org."],
    },
    "ns1.customer.org": {"A": ["127.0.0.1"]},
    "a.customer.org": {"TXT": ['"stale"']},
    "other.net": {"SOA": ["ns.other.net. host.other.net. 1 2 3 4 5"], "NS": ["ns1.customer.org."]},
}


def resolver(
    recursive: str, authority: str, *, allowed: bool = True, timeout_s: float = 2.0
) -> AuthoritativeResolver:
    return AuthoritativeResolver(
        system_resolver((recursive,), timeout_s=timeout_s),
        is_allowed=lambda _: allowed,
        port=int(authority.rpartition(":")[2]),
        timeout_s=1.0,
    )


async def test_the_authoritative_servers_answer_and_aliases_are_followed_into_other_zones() -> None:
    own: dict[str, dict[str, list[str]] | str] = {
        "a.customer.org": {"TXT": ['"v=1;" " k=2"']},
        "alias.customer.org": {"CNAME": ["target.other.net."], "TXT": []},
        "target.other.net": {"TXT": ['"there"']},
        "m.customer.org": {"MX": ["10 mx.platform.org."]},
        "broken.customer.org": SERVFAIL,
    }
    async with name_server(ZONES) as (_, recursive), name_server(own) as (_, authority):
        found = resolver(recursive, authority)
        assert await found.look_up("a.customer.org", "TXT") == LookupResult(("v=1; k=2",))
        assert await found.look_up("m.customer.org", "MX") == LookupResult(("10 mx.platform.org.",))
        assert await found.look_up("none.customer.org", "TXT") == LookupResult()
        assert await found.zone_of("deep.a.customer.org") == "customer.org"
        with pytest.raises(LookupFailed):
            await found.look_up("broken.customer.org", "TXT")


async def test_a_server_at_a_private_address_is_not_queried() -> None:
    async with name_server(ZONES) as (_, recursive), name_server({}) as (server, authority):
        with pytest.raises(LookupFailed):
            await resolver(recursive, authority, allowed=False).look_up("a.customer.org", "TXT")
        assert server.queried_names == []


async def test_without_a_zone_the_recursive_resolver_answers() -> None:
    records = {"a.local": {"TXT": ['"here"']}}
    async with name_server(records) as (_, recursive):
        found = resolver(recursive, recursive)
        assert await found.look_up("a.local", "TXT") == LookupResult(("here",))
        assert await found.look_up("b.local", "TXT") == LookupResult()


@pytest.mark.parametrize("fault", [NOTHING, REFUSED, SERVFAIL, SILENT])
async def test_records_are_not_missing_because_a_server_is_not_well(fault: str) -> None:
    async with name_server({"a.local": {"A": ["192.0.2.1"]}}) as (server, address):
        server.fault_of = lambda *_: fault
        recursive = system_resolver((address,), timeout_s=0.5)
        assert await look_up(recursive, "a.local", "TXT") is None
        with pytest.raises(LookupFailed):
            await resolver(address, address, timeout_s=0.2).look_up("a.local", "TXT")
        with pytest.raises(LookupFailed):
            await resolver(address, address, timeout_s=0.2).zone_of("a.local")
        server.fault_of = lambda *_: ""
        assert await look_up(recursive, "a.local", "TXT") == LookupResult()


async def test_a_server_that_knows_ipv4_addresses_alone_is_enough() -> None:
    async with name_server({"a.local": {"A": ["192.0.2.1"]}}) as (server, address):
        recursive = system_resolver((address,), timeout_s=0.5)
        server.fault_of = lambda _, kind: NOTHING if kind == "AAAA" else ""
        assert list((await recursive.resolve_name("a.local")).addresses()) == ["192.0.2.1"]
        server.fault_of = lambda *_: NOTHING
        with pytest.raises(EmptyAnswer):
            await recursive.resolve_name("a.local")
