"""Egress sources in block lists, with a real name server on loopback."""

import asyncio
import logging

import pytest

from contracts.router.v1.events_pb2 import DeliveryAssigned
from contracts.router.v1.policies_pb2 import ListingChanged, SourceChecked
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.metrics import registry
from tests.support.kafka_clients import client_config
from tests.support.name_server import SERVFAIL, SILENT
from tests.support.router import RouterHarness, screened
from tests.support.source_checks import (
    IPV6_TEST,
    LISTED,
    ZONE,
    Records,
    add_source,
    blocked_by,
    checked_router,
    count_events,
    good_records,
)
from tests.support.stack import harness_fixture

OURS, OTHERS = f"10.2.0.192.{ZONE}", "10.2.0.192.other.example"
WITHIN_S = 240.0
harness = harness_fixture(RouterHarness, scope="function")


def usable(blocklist: str) -> float | None:
    return registry.get_sample_value("obm_blocklist_usable", {"blocklist": blocklist})


async def until_usable(blocklist: str, value: float) -> None:
    async with asyncio.timeout(WITHIN_S):
        while usable(blocklist) != value:
            await asyncio.sleep(0.05)


def queries(blocklist: str, result: str) -> float:
    labels = {"blocklist": blocklist, "result": result}
    return registry.get_sample_value("obm_blocklist_queries_total", labels) or 0.0


async def until_queried(blocklist: str, result: str, *, more: int) -> None:
    before = queries(blocklist, result)
    async with asyncio.timeout(WITHIN_S):
        while queries(blocklist, result) < before + more:
            await asyncio.sleep(0.05)


async def test_a_listed_source_waits_also_for_the_next_scheduler_until_it_is_delisted(
    harness: RouterHarness, caplog: pytest.LogCaptureFixture
) -> None:
    text = {"TXT": ['"Listed, see https://bl.example/k1"']}
    records: Records = {**good_records(), OURS: {**LISTED, **text}}
    egress_id = await add_source(harness)
    with caplog.at_level(logging.DEBUG):
        async with checked_router(harness, records) as wait_for:
            source = await wait_for(lambda one: one.listings)
            assert source.state == "suspended"
            [listing] = source.listings
            assert (listing.blocklist, listing.address, list(listing.codes)) == (
                "bl", "192.0.2.10", ["127.0.0.2"],
            )  # fmt: skip
            assert (listing.meaning, listing.text) == (
                "a source of spam", "Listed, see https://bl.example/…",
            )  # fmt: skip
    assert "k1.bl.example" not in caplog.text
    nothing: Records = dict.fromkeys(records, SERVFAIL)
    async with checked_router(harness, nothing) as wait_for:
        context = harness.context()
        await harness.publish(screened(context))
        while blocked_by(harness) != {"listed"}:
            await asyncio.sleep(0.05)
        assert not harness.received(DeliveryAssigned, context.message_id)
        nothing.update(good_records())  # the list works again and does not have the source
        del nothing[OURS]
        await wait_for(lambda one: one.state == "active")
        await harness.wait_for(DeliveryAssigned, context.message_id)
    assert count_events(harness, f"listing/{egress_id}") == 2
    await assert_published(harness)


async def test_a_light_listing_is_shown_and_drains_nothing(harness: RouterHarness) -> None:
    records: Records = {**good_records(), OURS: {"A": ["127.0.0.3"]}}
    await add_source(harness)
    async with checked_router(harness, records) as wait_for:
        source = await wait_for(lambda one: one.listings)
        assert (source.state, source.listings[0].suspends) == ("active", False)
        context = harness.context()
        await harness.publish(screened(context))
        await harness.wait_for(DeliveryAssigned, context.message_id)


@pytest.mark.parametrize(
    "broken",
    [
        {f"1.0.0.127.{ZONE}": LISTED},  # it must not be listed (RFC 5782 §5)
        {f"1.{IPV6_TEST}{ZONE}": LISTED},
        {f"2.0.0.127.{ZONE}": {"A": ["127.255.255.254"]}, OURS: {"A": ["127.255.255.254"]}},
        {f"2.0.0.127.{ZONE}": SERVFAIL},
        {OURS: {"A": ["203.0.113.7"]}},  # a parked domain
    ],
    ids=["everything", "everything of IPv6", "refused", "fails", "parked"],
)
async def test_a_list_that_does_not_work_lists_nothing(
    harness: RouterHarness, broken: Records
) -> None:
    records: Records = {**good_records(), OURS: LISTED, **broken}
    egress_id = await add_source(harness)
    async with checked_router(harness, records, dnsbl_test_interval_s=3600.0) as wait_for:
        await until_usable("bl", 0)
        assert (await wait_for(lambda one: True)).state == "active"
    assert count_events(harness, f"listing/{egress_id}") == 0


async def test_a_list_that_dies_after_its_self_test_changes_nothing(harness: RouterHarness) -> None:
    """It lists everything, then nothing: a domain that has expired."""
    records: Records = good_records()
    egress_id = await add_source(harness)
    settings = {"blocklists": ["bl", "other"], "dnsbl_test_interval_s": 3600.0}
    async with checked_router(harness, records, **settings) as wait_for:
        await until_usable("bl", 1)
        await until_usable("other", 0)  # it has no test entries yet
        await until_queried("bl", "unlisted", more=2)
        records |= {OURS: LISTED, f"1.0.0.127.{ZONE}": LISTED}
        await until_usable("bl", 0)
        assert (await wait_for(lambda one: True)).state == "active"
    assert count_events(harness, f"listing/{egress_id}") == 0


async def test_a_listing_stays_while_its_list_is_dead(harness: RouterHarness) -> None:
    records: Records = {**good_records(), OURS: LISTED}
    egress_id = await add_source(harness)
    async with checked_router(harness, records, dnsbl_test_interval_s=3600.0) as wait_for:
        await wait_for(lambda one: one.state == "suspended")
        async with asyncio.timeout(WITHIN_S):  # it is shown before the scheduler has recorded it
            while not count_events(harness, f"listing/{egress_id}"):
                await asyncio.sleep(0.05)
        for name in (OURS, f"2.0.0.127.{ZONE}", f"2.{IPV6_TEST}{ZONE}"):
            del records[name]
        await until_usable("bl", 0)
        assert (await wait_for(lambda one: True)).state == "suspended"
    assert count_events(harness, f"listing/{egress_id}") == 1


async def test_a_list_that_is_silent_does_not_keep_others_from_working(
    harness: RouterHarness,
) -> None:
    tests: Records = {"2.0.0.127.other.example": LISTED}
    records: Records = {**good_records(), **tests, OURS: SILENT, OTHERS: LISTED}
    await add_source(harness)
    settings = {"blocklists": ["bl", "other"], "dns_timeout_s": 0.5}
    async with checked_router(harness, records, **settings) as wait_for:
        source = await wait_for(lambda one: one.listings)
        assert [one.blocklist for one in source.listings] == ["other"]
        await until_queried("bl", "unanswered", more=1)


async def assert_published(harness: RouterHarness) -> None:
    """The findings were published to their topics."""
    config = client_config(harness.bootstrap_servers)
    kafka = Kafka(config, DependencyHealth(), prefix=harness.prefix, client="t")
    kafka.declare(ListingChanged, SourceChecked)
    assert all(await kafka.end_offsets(ListingChanged, SourceChecked))
    await kafka.close()
