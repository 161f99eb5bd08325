"""Self-checks of egress sources, with a real name server on loopback."""

import asyncio

from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.events_pb2 import DeliveryAssigned
from tests.support.name_server import SERVFAIL
from tests.support.router import RouterHarness, screened
from tests.support.source_checks import (
    EHLO,
    IPV4,
    IPV6,
    PTR6,
    SPF,
    add_source,
    checked_router,
    count_events,
    good_records,
)
from tests.support.stack import harness_fixture

harness = harness_fixture(RouterHarness, scope="function")


def problems_of(source: pb.Source) -> set[tuple[str, str]]:
    return {(one.problem, one.address) for one in source.problems}


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
