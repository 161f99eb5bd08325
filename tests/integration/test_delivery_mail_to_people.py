"""Mail to postmaster and abuse at the hosts of return paths reaches the operator, and no loop."""

import asyncio
import smtplib
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import Message

import pytest

from contracts.ingest.v1.directory_pb2 import Domain
from services.delivery.api.return_path import role_mail
from tests.support.delivery import Harness
from tests.support.receiver import Receiver, receiving, respond_with
from tests.support.return_path import HOST, World, counted, world_of
from tests.support.returned_mail import complaint
from tests.support.stack import harness_fixture

OPERATOR = "ops@operator.example"
MAIL = b"From: Ann <ann@a.example>\r\nTo: abuse@x\r\nSubject: Spam from you\r\n\r\nStop it.\r\n"
OWN = "mx.sender.example"

harness = harness_fixture(Harness, scope="module")


@asynccontextmanager
async def operated(
    harness: Harness, *, per_hour_max: int = 100
) -> AsyncIterator[tuple[World, Receiver]]:
    """A return path whose operator reads mail, and the API that gets it."""
    async with (
        receiving() as api,
        world_of(
            harness,
            api_url=f"{api.url}/v1",
            api_key="key",
            operator_mail_to=OPERATOR,
            operator_mail_from="engine@operator.example",
            operator_mail_per_hour_max=per_hour_max,
        ) as world,
    ):
        await host_of(world, "d1", HOST)
        yield world, api


async def host_of(world: World, domain_id: str, host: str, *, version: int = 1) -> None:
    """Wait until a domain has this return path."""
    domain = Domain(domain_id=domain_id, version=version, name="a.example", return_path_host=host)
    await world.running.topics.publish([domain])
    async with asyncio.timeout(60):
        while await asyncio.to_thread(reply_to, world.port, f"postmaster@{host}") != 250:
            await asyncio.sleep(0.05)


def reply_to(port: int, address: str) -> int:
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.helo("c.example")
        client.mail("")
        return client.docmd("RCPT", f"TO:<{address}>")[0]


def forwarded(api: Receiver) -> list[Message]:
    found = api.at("/v1/emails")
    assert all(one.json["to"] == OPERATOR for one in found)
    return [message_from_bytes(b64decode(one.json["raw"])) for one in found]


def parts_of(message: Message) -> list[Message]:
    found = message.get_payload()
    assert isinstance(found, list)
    return [one for one in found if isinstance(one, Message)]


async def test_mail_to_people_reaches_the_operator_as_it_arrived(harness: Harness) -> None:
    async with operated(harness) as (world, api):
        to = f"Abuse@{HOST.upper()}"
        for _ in range(2):  # the sender has lost the reply, and repeats
            assert (await world.hand_in(MAIL, to, sender="ann@a.example"))[0] == 250
        assert len({one.headers["idempotency-key"] for one in api.received}) == 1
        assert len({one.body for one in api.received}) == 1  # or the API refuses the key
        message = forwarded(api)[0]
        assert message["Subject"] == f"[abuse@{HOST}] Spam from you"
        assert (message["Reply-To"], message["Delivered-To"]) == ("ann@a.example", f"abuse@{HOST}")
        assert message["Auto-Submitted"] == "auto-generated"
        text, attached = parts_of(message)
        assert "sent by ann@a.example from 127.0.0.1" in str(text.get_payload(decode=True))
        assert attached.get_content_type() == "message/rfc822"
        assert parts_of(attached)[0].as_bytes().replace(b"\n", b"\r\n") == MAIL
        assert await asyncio.to_thread(reply_to, world.port, "Postmaster") == 250
        assert await asyncio.to_thread(reply_to, world.port, f"postmaster@{OWN}") == 250
        assert await asyncio.to_thread(reply_to, world.port, "abuse@gmail.example") == 550
        assert await asyncio.to_thread(reply_to, world.port, f"hostmaster@{HOST}") == 550


@pytest.mark.parametrize("name", ["localhost", "MX.Sender.Example"])
async def test_postmaster_needs_no_domain_whatever_the_name_of_the_server(
    harness: Harness, name: str
) -> None:
    async with world_of(harness, return_path_hostname=name) as world:
        async with asyncio.timeout(60):
            while (code := await asyncio.to_thread(reply_to, world.port, "postmaster")) == 451:
                await asyncio.sleep(0.05)  # until the directory is read
        assert code == 250
        assert await asyncio.to_thread(reply_to, world.port, "ann") == 501


async def test_mail_that_is_not_plain_arrives_as_a_file(harness: Harness) -> None:
    async with operated(harness) as (world, api):
        raw = b"Subject: \xc3\xbc\r\n\r\n" + b"x" * 1500 + b"\r\n"
        assert (await world.hand_in(raw, f"abuse@{HOST}"))[0] == 250
        _, attached = parts_of(forwarded(api)[0])
        assert attached.get_content_type() == "application/octet-stream"
        assert attached.get_payload(decode=True) == raw


async def test_mail_does_not_loop(harness: Harness) -> None:
    """Its operator forwards it back: to the same address, and with many relays."""
    async with operated(harness) as (world, api):
        assert (await world.hand_in(MAIL, f"abuse@{HOST}"))[0] == 250
        [request] = api.at("/v1/emails")
        returned = b64decode(request.json["raw"])
        before = counted("loop")
        assert await world.hand_in(returned, f"abuse@{HOST}") == (554, role_mail.LOOP[4:])
        relays = b"Received: by mx.example; Thu, 1 Jan 2026 00:00:00 +0000\r\n" * 51
        assert (await world.hand_in(relays + MAIL, f"abuse@{HOST}"))[0] == 554
        assert counted("loop") == before + 2
        assert len(api.received) == 1


async def test_a_complaint_to_abuse_counts_and_is_forwarded(harness: Harness) -> None:
    async with operated(harness) as (world, api):
        sent = await world.deliver()
        header = message_from_bytes(world.peer.messages[0].message)
        mail = complaint(f"abuse@{HOST}", f"X-Report-Token: {header['X-Report-Token']}")
        assert (await world.hand_in(mail, f"abuse@{HOST}"))[0] == 250
        await world.await_reports(sent, 1)
        assert len(api.received) == 1


async def test_nothing_is_taken_that_the_api_does_not_have(harness: Harness) -> None:
    async with operated(harness, per_hour_max=3) as (world, api):
        api.behaviors["/v1/emails"] = respond_with(503, 422, 202)
        replies = [(await world.hand_in(MAIL, f"abuse@{HOST}"))[0] for _ in range(4)]
        assert replies == [451, 451, 250, 451]  # the last is beyond the allowance
        assert len(api.received) == 3


async def test_without_an_operator_only_postmaster_has_an_address(harness: Harness) -> None:
    async with world_of(harness) as world:
        before = counted("postmaster")
        assert (await world.hand_in(MAIL, f"postmaster@{OWN}"))[0] == 250
        assert counted("postmaster") == before + 1
        assert (await world.hand_in(MAIL, f"abuse@{OWN}"))[0] == 550


async def test_a_host_that_may_be_unknown_yet_is_not_refused(harness: Harness) -> None:
    async with world_of(harness) as world:
        await host_of(world, "d2", "returns.b.example")
        ended = Domain(
            domain_id="d2", version=2, return_path_host="returns.b.example", deleted=True
        )
        await world.running.topics.publish([ended])
        address = "postmaster@returns.b.example"
        async with asyncio.timeout(60):
            while await asyncio.to_thread(reply_to, world.port, address) != 550:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"operator_mail_to": OPERATOR}, "DELIVERY_OPERATOR_MAIL_FROM"),
        ({"operator_mail_to": "nobody"}, "is no address"),
        (
            {
                "operator_mail_to": f"a@{OWN}",
                "operator_mail_from": "x@y.example",
                "api_key": "k",
                "return_path_hostname": OWN,
            },
            "leads back",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(
    harness: Harness, settings: dict[str, str], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        harness.create_settings(**settings)


def test_mail_that_nobody_reads_is_a_setting_that_is_missing(harness: Harness) -> None:
    listen = {"return_path_listen": "127.0.0.1:0"}
    forwarding = {"operator_mail_to": OPERATOR, "operator_mail_from": "x@y.example", "api_key": "k"}
    assert harness.create_settings(**listen).missing == ["DELIVERY_OPERATOR_MAIL_TO"]
    assert not harness.create_settings().missing
    assert not harness.create_settings(**listen, **forwarding).missing
