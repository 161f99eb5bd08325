"""Self-checks of egress sources, with a real name server on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.events_pb2 import DeliveryAssigned
from contracts.router.v1.policies_pb2 import ListingChanged, SourceChecked
from contracts.router.v1.policy_service_pb2_grpc import PolicyServiceStub
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.rpc import RpcClient
from tests.support.kafka_clients import client_config
from tests.support.name_server import SERVFAIL, name_server
from tests.support.router import TOKEN, RouterHarness, screened
from tests.support.sources import open_sources
from tests.support.stack import harness_fixture

IPV4, IPV6, EHLO, SPF, ZONE = (
    *("192.0.2.10", "2001:db8::10", "out1.example.com", "_spf.example.com"),
    "bl.example",
)
PTR6 = "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
LISTED: dict[str, list[str]] = {"A": ["127.0.0.2"]}
Records = dict[str, dict[str, list[str]] | str]


def good_records() -> Records:
    return {
        "10.2.0.192.in-addr.arpa": {"PTR": [f"{EHLO}."]},
        PTR6: {"PTR": [f"{EHLO}."]},
        EHLO: {"A": [IPV4], "AAAA": [IPV6]},
        SPF: {"TXT": ['"v=spf1 ip4:192.0.2.0/24 " "ip6:2001:db8::/32 ~all"']},
        f"2.0.0.127.{ZONE}": LISTED,
        f"2.0.0.0.0.0.f.7.f.f.f.f.{'0.' * 20}{ZONE}": LISTED,
    }


harness = harness_fixture(RouterHarness, scope="function")


async def add_source(harness: RouterHarness) -> str:
    async with open_sources(harness.settings) as sources:
        await sources.remove_all()
        return (await sources.add([IPV4, IPV6], ehlo=EHLO)).egress_id


@asynccontextmanager
async def checked_router(
    harness: RouterHarness, records: Records, **settings: object
) -> AsyncIterator[Callable[[Callable[[pb.Source], object]], Any]]:
    """A router that checks often; yields a function that waits for a state of its latest source."""
    async with name_server(records) as (_, address):
        harness.extra = {
            "nameservers": (address,),
            "dns_timeout_s": 3.0,
            "source_check_interval_s": 0.2,
            "spf_domain": SPF,
            "dnsbl_zones": (ZONE,),
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


def problems_of(source: pb.Source) -> set[tuple[str, str]]:
    return {(one.problem, one.address) for one in source.problems}


def count_events(harness: RouterHarness, prefix: str) -> int:
    with harness.database.connect() as connection:
        query = "SELECT count(*) FROM router.policy_events WHERE subject LIKE %s"
        [count] = connection.execute(query, (f"{prefix}%",)).fetchone() or [0]
    assert isinstance(count, int)
    return count


async def test_problems_are_found_named_and_forgotten_when_they_are_corrected(
    harness: RouterHarness,
) -> None:
    records = good_records()
    del records["10.2.0.192.in-addr.arpa"]
    records[PTR6] = {"PTR": ["host.isp.example."]}
    records[EHLO] = {"A": ["192.0.2.77"]}
    records[SPF] = {"TXT": ['"v=spf1 ip4:192.0.2.0/24 -all"']}
    egress_id = await add_source(harness)
    async with checked_router(harness, records) as wait_for:
        found = await wait_for(lambda one: len(one.problems) == 5)
        assert problems_of(found) == {
            ("ptr_missing", IPV4),
            ("ptr_mismatch", IPV6),
            ("forward_mismatch", IPV4),
            ("forward_missing", IPV6),
            ("spf_mismatch", IPV6),
        }
        assert all(one.advice.endswith(".") for one in found.problems)
        async with asyncio.timeout(30):  # the list shows what the scheduler has not recorded yet
            while not (before := count_events(harness, f"source_check/{egress_id}")):
                await asyncio.sleep(0.05)
        for name in records:
            records[name] = SERVFAIL  # no answer changes nothing
        await asyncio.sleep(1.0)
        assert count_events(harness, f"source_check/{egress_id}") == before
        assert problems_of(await wait_for(lambda one: True)) == problems_of(found)
        records.update(good_records())
        await wait_for(lambda one: not one.problems)


async def test_a_source_is_provisioned_once_it_has_passed_its_checks(
    harness: RouterHarness,
) -> None:
    records = good_records()
    del records[SPF]
    egress_id = await add_source(harness)
    async with checked_router(harness, records, source_checks="require") as wait_for:
        context = harness.context()
        await harness.publish(screened(context))
        source = await wait_for(lambda one: len(one.problems) == 2)
        assert (source.state, problems_of(source)) == (
            "provisioning",
            {("spf_missing", IPV4), ("spf_missing", IPV6)},
        )
        await asyncio.sleep(0.5)
        assert not harness.received(DeliveryAssigned, context.message_id)
        records.update(good_records())
        await wait_for(lambda one: one.state == "active")
        [assigned] = await harness.wait_for(DeliveryAssigned, context.message_id)
        assert assigned.egress_id == egress_id


async def test_a_listed_source_waits_also_for_the_next_scheduler_until_it_is_delisted(
    harness: RouterHarness,
) -> None:
    records: Records = {**good_records(), f"10.2.0.192.{ZONE}": LISTED}
    egress_id = await add_source(harness)
    async with checked_router(harness, records) as wait_for:
        source = await wait_for(lambda one: one.listings)
        assert source.state == "suspended"
        assert [one.zone for one in source.listings] == [ZONE]
    nothing: Records = dict.fromkeys(records, SERVFAIL)
    async with checked_router(harness, nothing) as wait_for:
        context = harness.context()
        await harness.publish(screened(context))
        while blocked_by(harness) != {"listed"}:
            await asyncio.sleep(0.05)
        assert not harness.received(DeliveryAssigned, context.message_id)
        nothing.update(good_records())  # the zone works again and does not list the source
        del nothing[f"10.2.0.192.{ZONE}"]
        await wait_for(lambda one: one.state == "active")
        await harness.wait_for(DeliveryAssigned, context.message_id)
    assert count_events(harness, f"listing/{egress_id}") == 2
    await assert_published(harness)


async def test_a_zone_that_lists_everything_or_refuses_queries_lists_nothing(
    harness: RouterHarness,
) -> None:
    records: Records = {**good_records(), f"10.2.0.192.{ZONE}": LISTED}
    records[f"1.0.0.127.{ZONE}"] = LISTED  # it must not be listed (RFC 5782 §5)
    records[f"1.0.0.0.0.0.f.7.f.f.f.f.{'0.' * 20}{ZONE}"] = LISTED
    refusing = "refusing.example"
    for name in ("2.0.0.127", "10.2.0.192"):
        records[f"{name}.{refusing}"] = {"A": ["127.255.255.254"]}
    egress_id = await add_source(harness)
    zones = (ZONE, refusing)
    async with checked_router(harness, records, dnsbl_zones=zones) as wait_for:
        while not count_events(harness, f"source_check/{egress_id}"):
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        assert (await wait_for(lambda one: True)).state == "active"
    assert count_events(harness, f"listing/{egress_id}") == 0


def blocked_by(harness: RouterHarness) -> set[str]:
    with harness.database.connect() as connection:
        rows = connection.execute(
            "SELECT limited_by FROM router.queues WHERE blocked_by <> ''"
        ).fetchall()
    return {str(row[0]) for row in rows}


async def assert_published(harness: RouterHarness) -> None:
    """The findings were published to their topics."""
    config = client_config(harness.bootstrap_servers)
    kafka = Kafka(config, DependencyHealth(), prefix=harness.prefix, client="t")
    kafka.declare(ListingChanged, SourceChecked)
    for kind in (ListingChanged, SourceChecked):
        assert await kafka.end_offset(kind) > 0
    await kafka.close()
