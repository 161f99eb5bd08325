"""Routes from DNS, with a real name server on loopback."""

from collections.abc import Mapping
from functools import partial
from uuid import uuid4

import pytest

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_BOUNCED,
    DeliveryAssigned,
    MessageClosed,
)
from tests.support.name_server import NOTHING, REFUSED, SERVFAIL, SILENT, name_server
from tests.support.router import RouterHarness, screened, until
from tests.support.stack import harness_fixture

RECORDS: Mapping[str, Mapping[str, list[str]] | str] = {
    "shop.test": {"MX": ["20 mx2.provider.test.", "10 mx1.provider.test."]},
    "other.test": {"MX": ["10 mx3.provider.test."]},
    "no-mail.test": {"MX": ["0 ."]},
    "only-address.test": {"A": ["192.0.2.1"]},
    "nothing.test": {"TXT": ['"hello"']},
    "broken.test": SERVFAIL,
    "silent.test": SILENT,
}


harness = harness_fixture(RouterHarness, scope="function")


async def test_domains_of_one_provider_share_a_site_and_each_domain_is_looked_up_once(
    harness: RouterHarness,
) -> None:
    async with name_server(RECORDS) as (server, address):
        harness.extra = {"nameservers": (address,), "dns_timeout_s": 3}
        async with harness.running():
            mail = [harness.context(f"u{n}@shop.test") for n in range(20)]
            other = harness.context("u@other.test")
            await harness.publish(*(screened(one) for one in [*mail, other]))
            [last] = await harness.wait_for(DeliveryAssigned, other.message_id)
            for one in mail:
                [assigned] = await harness.wait_for(DeliveryAssigned, one.message_id)
                assert assigned.site == last.site == "provider.test"
                hosts = [mx_host.host for mx_host in assigned.mx_hosts]
                assert hosts == ["mx1.provider.test", "mx2.provider.test"]
            assert server.queried_names.count("shop.test") == 1


async def test_a_message_to_a_domain_without_mail_bounces_without_a_connection(
    harness: RouterHarness,
) -> None:
    expected = {
        "no-mail.test": ("null_mx", "5.1.10"),
        "missing.test": ("no_domain", "5.1.2"),
        "nothing.test": ("no_mx", "5.1.2"),
    }
    async with name_server(RECORDS) as (_, address):
        harness.extra = {"nameservers": (address,), "dns_timeout_s": 3}
        async with harness.running():
            mail = {domain: harness.context(f"ann@{domain}") for domain in expected}
            await harness.publish(*map(screened, mail.values()))
            for domain, context in mail.items():
                [closed] = await harness.wait_for(MessageClosed, context.message_id)
                assert closed.state == CLOSED_STATE_BOUNCED
                assert (closed.reason, closed.reply.enhanced) == expected[domain]
                assert closed.bounce_class == "bad_domain"
                assert not harness.received(DeliveryAssigned, context.message_id)


async def test_the_third_bounce_of_an_unroutable_address_suppresses_it(
    harness: RouterHarness,
) -> None:
    async with name_server(RECORDS) as (_, address):
        harness.extra = {"nameservers": (address,), "dns_timeout_s": 3}
        async with harness.running():
            states = []
            for _ in range(4):
                context = harness.context("bob@missing.test")
                await harness.publish(screened(context))
                [closed] = await harness.wait_for(MessageClosed, context.message_id)
                states.append(closed.state)
            assert states[:3] == [CLOSED_STATE_BOUNCED] * 3
            found = await suppressed_addresses(harness)
            assert found == ["bob@missing.test"]


async def suppressed_addresses(harness: RouterHarness) -> list[str]:
    with harness.database.connect() as connection:
        rows = connection.execute(
            "SELECT address FROM router.suppressions WHERE owner_id = %s", (harness.tenant_id,)
        ).fetchall()
    return [str(address) for (address,) in rows]


async def test_a_domain_without_mx_is_its_own_host_and_a_failed_lookup_makes_mail_wait(
    harness: RouterHarness,
) -> None:
    async with name_server(RECORDS) as (_, address):
        harness.extra = {"nameservers": (address,), "dns_timeout_s": 3}
        async with harness.running(), harness.rpc() as (call, stub):
            broken, implicit = (
                harness.context("a@broken.test"),
                harness.context("a@only-address.test"),
            )
            await harness.publish(screened(broken), screened(implicit))
            [assigned] = await harness.wait_for(DeliveryAssigned, implicit.message_id)
            assert [one.host for one in assigned.mx_hosts] == ["only-address.test"]
            assert harness.row(broken.message_id) == "queued"
            ids = [broken.message_id]
            request = pb.GetStatesRequest(tenant_id=harness.tenant_id, message_ids=ids)
            await until(lambda: limited_by(harness, broken.message_id))
            [state] = (await call(stub.GetStates, request)).states
            assert state.queued_reason.startswith("dns: ")
            assert not harness.received(MessageClosed, broken.message_id)


def waits_for_dns(harness: RouterHarness, message_id: str) -> bool:
    return limited_by(harness, message_id).startswith("dns: ")


def limited_by(harness: RouterHarness, message_id: str) -> str:
    """The limit that the queue of a message waits for."""
    with harness.database.connect() as connection:
        [(found,)] = connection.execute(
            "SELECT limited_by FROM router.queues JOIN router.messages USING (queue_id)"
            " WHERE message_id = %s",
            (message_id,),
        ).fetchall()
    return str(found)


@pytest.mark.parametrize("fault", [SILENT, SERVFAIL, REFUSED, NOTHING])
async def test_mail_waits_while_dns_is_away_and_is_decided_after_it(
    harness: RouterHarness, fault: str
) -> None:
    async with name_server(RECORDS) as (server, address):
        server.fault_of = lambda *_: fault
        harness.extra = {"nameservers": (address,), "dns_timeout_s": 0.5}
        async with harness.running():
            good = harness.context("u@shop.test"), harness.context("u@only-address.test")
            bad = harness.context("u@missing.test"), harness.context("u@nothing.test")
            await harness.publish(*map(screened, (*good, *bad)))
            for one in (*good, *bad):
                await harness.wait_for_state(one.message_id, "queued")
                await until(partial(waits_for_dns, harness, one.message_id))
                assert not harness.received(MessageClosed, one.message_id)
            server.fault_of = lambda *_: ""
            for one in good:
                await harness.wait_for(DeliveryAssigned, one.message_id)
            reasons = {"no_domain", "no_mx"}
            for one in bad:
                [closed] = await harness.wait_for(MessageClosed, one.message_id)
                reasons.remove(closed.reason)


async def test_name_servers_that_do_not_answer_delay_no_other_mail(harness: RouterHarness) -> None:
    """A thousand messages to one silent domain, and a tenant with more silent domains than may be
    looked up at the same time."""
    silent = {f"s{n}.test": SILENT for n in range(20)}

    async with name_server({**RECORDS, **silent}) as (_, address):
        harness.extra = {"nameservers": (address,), "dns_timeout_s": 60, "dns_lookups_max": 8}
        async with harness.running():
            other = str(uuid4())
            await harness.publish(Tenant(tenant_id=other, version=1))
            names = [harness.context(f"u@{name}", tenant_id=other) for name in silent]
            await harness.publish(*map(screened, names))
            many = [harness.context(f"u{n}@silent.test") for n in range(1001)]
            await harness.publish(*map(screened, many))
            await harness.wait_for_state(names[-1].message_id, "queued")
            await harness.wait_for_state(many[-1].message_id, "queued")
            good = harness.context("u@shop.test")
            await harness.publish(screened(good))
            await harness.wait_for(DeliveryAssigned, good.message_id)


async def test_a_queue_of_mixed_domains_is_split_by_domain(harness: RouterHarness) -> None:
    async with name_server(RECORDS) as (_, address):
        harness.extra = {"nameservers": (address,), "dns_timeout_s": 3}
        mail = [harness.context(f"u@{name}.test") for name in ("shop", "only-address", "broken")]
        mixed = f"{harness.tenant_id}/unresolved"
        await harness.create_topics()
        with harness.database.connect() as connection:
            for one in mail:
                connection.execute(
                    "INSERT INTO router.messages (message_id, tenant_id, email_id, cell,"
                    " queue_id, state, due_at, expires_at, address_hash, context)"
                    " VALUES (%s, %s, %s,"
                    " 'default', %s, 'queued', now(), now() + interval '1 hour', '', %s)",
                    (
                        one.message_id,
                        one.tenant_id,
                        one.email_id,
                        mixed,
                        one.SerializeToString(),
                    ),
                )
            connection.execute(
                "INSERT INTO router.queues (queue_id, tenant_id, cell, site, next_at)"
                " VALUES (%s, %s, 'default', 'unresolved', now())",
                (mixed, harness.tenant_id),
            )
        async with harness.running():
            for one in mail[:2]:
                await harness.wait_for(DeliveryAssigned, one.message_id)
            await until(
                lambda: harness.row(mail[2].message_id, "queue_id") == f"{mixed}/broken.test"
            )
