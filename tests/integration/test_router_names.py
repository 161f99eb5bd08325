"""Where mail goes by DNS: asked of a real name server on loopback."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_BOUNCED,
    DeliveryAssigned,
    MessageClosed,
)
from tests.support.name_server import SERVFAIL, name_server
from tests.support.pair import FreshDatabase
from tests.support.router import House, play, screened

RECORDS: Mapping[str, Mapping[str, list[str]] | str] = {
    "shop.test": {"MX": ["20 mx2.provider.test.", "10 mx1.provider.test."]},
    "other.test": {"MX": ["10 mx3.provider.test."]},
    "no-mail.test": {"MX": ["0 ."]},
    "only-address.test": {"A": ["192.0.2.1"]},
    "nothing.test": {"TXT": ['"hello"']},
    "broken.test": SERVFAIL,
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
            async with house.running():
                broken, implicit = (
                    house.envelope("a@broken.test"),
                    house.envelope("a@only-address.test"),
                )
                await house.publish(screened(broken), screened(implicit))
                [assigned] = await house.of(DeliveryAssigned, implicit.message_id)
                assert [one.host for one in assigned.exchangers] == ["only-address.test"]
                assert house.row(broken.message_id) == "waiting"
                assert not house.so_far(MessageClosed, broken.message_id)

    play(story())
