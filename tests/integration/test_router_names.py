"""Where mail goes by DNS: asked of a real name server on loopback."""

from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import pytest

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_BOUNCED,
    DeliveryAssigned,
    MessageClosed,
)
from tests.support.name_server import SERVFAIL, SILENT, name_server
from tests.support.pair import FreshDatabase
from tests.support.router import House, play, screened, until

RECORDS: Mapping[str, Mapping[str, list[str]] | str] = {
    "shop.test": {"MX": ["20 mx2.provider.test.", "10 mx1.provider.test."]},
    "other.test": {"MX": ["10 mx3.provider.test."]},
    "no-mail.test": {"MX": ["0 ."]},
    "only-address.test": {"A": ["192.0.2.1"]},
    "nothing.test": {"TXT": ['"hello"']},
    "broken.test": SERVFAIL,
    "silent.test": SILENT,
}


@pytest.fixture
def house(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> House:
    return House(bootstrap_servers, topic_prefix, database, tmp_path)


def test_domains_of_one_provider_share_a_site_and_names_are_asked_once(house: House) -> None:
    async def story() -> None:
        async with name_server(RECORDS) as (server, address):
            house.extra = {"nameservers": (address,), "dns_timeout_s": 3}
            async with house.running():
                mail = [house.envelope(f"u{n}@shop.test") for n in range(20)]
                other = house.envelope("u@other.test")
                await house.publish(*(screened(one) for one in [*mail, other]))
                [last] = await house.of(DeliveryAssigned, other.message_id)
                for one in mail:
                    [assigned] = await house.of(DeliveryAssigned, one.message_id)
                    assert assigned.site == last.site == "provider.test"
                    hosts = [exchanger.host for exchanger in assigned.exchangers]
                    assert hosts == ["mx1.provider.test", "mx2.provider.test"]
                assert server.asked.count("shop.test") == 1

    play(story())


@pytest.mark.parametrize(
    ("domain", "reason", "enhanced"),
    [
        ("no-mail.test", "null_mx", "5.1.10"),
        ("missing.test", "no_domain", "5.1.2"),
        ("nothing.test", "no_mx", "5.1.2"),
    ],
)
def test_a_domain_that_takes_no_mail_bounces_at_once_and_nobody_is_called(
    house: House, domain: str, reason: str, enhanced: str
) -> None:
    async def story() -> None:
        async with name_server(RECORDS) as (_, address):
            house.extra = {"nameservers": (address,), "dns_timeout_s": 3}
            async with house.running():
                envelope = house.envelope(f"ann@{domain}")
                await house.publish(screened(envelope))
                [closed] = await house.of(MessageClosed, envelope.message_id)
                assert (closed.state, closed.reason) == (CLOSED_STATE_BOUNCED, reason)
                assert (closed.reply.enhanced, closed.bounce_class) == (enhanced, "bad_domain")
                assert not house.so_far(DeliveryAssigned, envelope.message_id)

    play(story())


def test_the_third_bounce_of_a_bad_domain_suppresses_its_address(house: House) -> None:
    async def story() -> None:
        async with name_server(RECORDS) as (_, address):
            house.extra = {"nameservers": (address,), "dns_timeout_s": 3}
            async with house.running():
                states = []
                for _ in range(4):
                    envelope = house.envelope("bob@missing.test")
                    await house.publish(screened(envelope))
                    [closed] = await house.of(MessageClosed, envelope.message_id)
                    states.append(closed.state)
                assert states[:3] == [CLOSED_STATE_BOUNCED] * 3
                found = await suppressed_addresses(house)
                assert found == ["bob@missing.test"]

    play(story())


async def suppressed_addresses(house: House) -> list[str]:
    with house.database.connect() as connection:
        rows = connection.execute(
            "SELECT address FROM router.suppressions WHERE tenant_id = %s", (house.tenant_id,)
        ).fetchall()
    return [str(address) for (address,) in rows]


def test_without_mx_mail_goes_to_the_domain_and_a_broken_server_makes_it_wait(
    house: House,
) -> None:
    async def story() -> None:
        async with name_server(RECORDS) as (_, address):
            house.extra = {"nameservers": (address,), "dns_timeout_s": 3}
            async with house.running(), house.rpc() as (ask, stub):
                broken, implicit = (
                    house.envelope("a@broken.test"),
                    house.envelope("a@only-address.test"),
                )
                await house.publish(screened(broken), screened(implicit))
                [assigned] = await house.of(DeliveryAssigned, implicit.message_id)
                assert [one.host for one in assigned.exchangers] == ["only-address.test"]
                assert house.row(broken.message_id) == "waiting"
                ids = [broken.message_id]
                request = pb.GetStatesRequest(tenant_id=house.tenant_id, message_ids=ids)
                await until(lambda: binding(house, broken.message_id))
                [state] = (await ask(stub.GetStates, request)).states
                assert state.wait_reason.startswith("dns: ")
                assert not house.so_far(MessageClosed, broken.message_id)

    play(story())


def binding(house: House, message_id: str) -> str:
    """What the message's lane waits for."""
    with house.database.connect() as connection:
        [(found,)] = connection.execute(
            "SELECT binding FROM router.lanes JOIN router.messages USING (lane)"
            " WHERE message_id = %s",
            (message_id,),
        ).fetchall()
    return str(found)


def test_names_that_nobody_answers_for_keep_no_other_mail_waiting(house: House) -> None:
    """A thousand messages to one such name, and one tenant with more such names than may be asked
    about at a time."""
    silent = {f"s{n}.test": SILENT for n in range(20)}

    async def story() -> None:
        async with name_server({**RECORDS, **silent}) as (_, address):
            house.extra = {"nameservers": (address,), "dns_timeout_s": 60, "dns_questions_max": 8}
            async with house.running():
                other = str(uuid4())
                await house.publish(Tenant(tenant_id=other, version=1))
                names = [house.envelope(f"u@{name}", tenant_id=other) for name in silent]
                await house.publish(*map(screened, names))
                many = [house.envelope(f"u{n}@silent.test") for n in range(1001)]
                await house.publish(*map(screened, many))
                await house.state(names[-1].message_id, "waiting")
                await house.state(many[-1].message_id, "waiting")
                good = house.envelope("u@shop.test")
                await house.publish(screened(good))
                await house.of(DeliveryAssigned, good.message_id)

    play(story())


def test_a_lane_of_mixed_domains_is_sorted_by_domain(house: House) -> None:
    async def story() -> None:
        async with name_server(RECORDS) as (_, address):
            house.extra = {"nameservers": (address,), "dns_timeout_s": 3}
            mail = [house.envelope(f"u@{name}.test") for name in ("shop", "only-address", "broken")]
            mixed = f"{house.tenant_id}/resolving"
            await house.create_topics()
            with house.database.connect() as connection:
                for one in mail:
                    connection.execute(
                        "INSERT INTO router.messages (message_id, tenant_id, email_id, cell, lane,"
                        " state, due_at, expires_at, address_hash, envelope) VALUES (%s, %s, %s,"
                        " 'default', %s, 'waiting', now(), now() + interval '1 hour', '', %s)",
                        (
                            one.message_id,
                            one.tenant_id,
                            one.email_id,
                            mixed,
                            one.SerializeToString(),
                        ),
                    )
                connection.execute(
                    "INSERT INTO router.lanes (lane, tenant_id, cell, site, next_at)"
                    " VALUES (%s, %s, 'default', 'resolving', now())",
                    (mixed, house.tenant_id),
                )
            async with house.running():
                for one in mail[:2]:
                    await house.of(DeliveryAssigned, one.message_id)
                await until(lambda: house.row(mail[2].message_id, "lane") == f"{mixed}/broken.test")

    play(story())
