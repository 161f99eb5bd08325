"""A router whose egress source and block list are in a name server on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.policy_service_pb2_grpc import PolicyServiceStub
from kernel.rpc import RpcClient
from tests.support.name_server import name_server
from tests.support.router import TOKEN, RouterHarness
from tests.support.sources import open_sources

IPV4, IPV6, EHLO, SPF, ZONE = (
    *("192.0.2.10", "2001:db8::10", "out1.example.com", "_spf.example.com"),
    "k1.bl.example",
)
PTR6 = "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
IPV6_TEST = f"0.0.0.0.0.f.7.f.f.f.f.{'0.' * 20}"  # after its first nibble
LISTED: dict[str, list[str]] = {"A": ["127.0.0.2"]}
BLOCKLISTS = """
[[list]]
name = "bl"
keyed_zone = "{key}.bl.example"
key = "ours"
kinds = ["ipv4", "ipv6"]
terms = "The test's."
[list.answers]
"127.0.0.2" = { weight = 8.0, meaning = "a source of spam" }
"127.0.0.3" = { weight = 2.0, meaning = "a source of bulk mail" }
[[list]]
name = "other"
zone = "other.example"
kinds = ["ipv4"]
terms = "The test's."
[list.answers]
"127.0.0.2" = { weight = 8.0, meaning = "a source of spam" }
"""
Records = dict[str, dict[str, list[str]] | str]


def good_records() -> Records:
    return {
        "10.2.0.192.in-addr.arpa": {"PTR": [f"{EHLO}."]},
        PTR6: {"PTR": [f"{EHLO}."]},
        EHLO: {"A": [IPV4], "AAAA": [IPV6]},
        SPF: {"TXT": ['"v=spf1 ip4:192.0.2.0/24 " "ip6:2001:db8::/32 ~all"']},
        f"2.0.0.127.{ZONE}": LISTED,
        f"2.{IPV6_TEST}{ZONE}": LISTED,
    }


async def add_source(harness: RouterHarness) -> str:
    async with open_sources(harness.settings) as sources:
        await sources.remove_all()
        return (await sources.add([IPV4, IPV6], ehlo=EHLO)).egress_id


@asynccontextmanager
async def checked_router(
    harness: RouterHarness, records: Records, **settings: object
) -> AsyncIterator[Callable[[Callable[[pb.Source], object]], Any]]:
    """A router that checks often; yields a function that waits for a state of its latest source."""
    blocklists = harness.folder / "blocklists.toml"
    blocklists.write_text(BLOCKLISTS)
    async with name_server(records) as (_, address):
        harness.extra = {
            "nameservers": (address,),
            "dns_timeout_s": 3.0,
            "source_check_interval_s": 0.2,
            "spf_domain": SPF,
            "blocklists": ["bl"],
            "blocklists_file": str(blocklists),
            "blocklist_keys": {"ours": "k1"},
            "dnsbl_interval_s": 0.2,
            "dnsbl_test_interval_s": 0.2,
            **settings,
        }
        async with harness.running():
            client = RpcClient("router", harness.rpc_address, TOKEN)
            stub = PolicyServiceStub(client.channel)

            async def wait_for(is_reached: Callable[[pb.Source], object]) -> pb.Source:
                while True:
                    request = pb.ListSourcesRequest()
                    found = await client.call(stub.ListSources, request, deadline_s=60.0)
                    if is_reached(found.sources[0]):
                        return found.sources[0]
                    await asyncio.sleep(0.05)

            try:
                yield wait_for
            finally:
                await client.close()


def count_events(harness: RouterHarness, prefix: str) -> int:
    with harness.database.connect() as connection:
        query = "SELECT count(*) FROM router.policy_events WHERE subject LIKE %s"
        [count] = connection.execute(query, (f"{prefix}%",)).fetchone() or [0]
    assert isinstance(count, int)
    return count


def blocked_by(harness: RouterHarness) -> set[str]:
    with harness.database.connect() as connection:
        rows = connection.execute(
            "SELECT limited_by FROM router.queues WHERE blocked_by <> ''"
        ).fetchall()
    return {str(row[0]) for row in rows}
