"""Test mail ends in the sandbox, over real SMTP, and each magic recipient plays its part."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.delivery.v1 import delivery_service_pb2 as pb
from contracts.delivery.v1 import events_pb2 as events
from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from kernel.embedded.folder import free_port
from kernel.ids import uuid7_text
from kernel.rpc import RpcClient, RpcError
from tests.support.delivery import House
from tests.support.stack import FreshDatabase

DOMAIN = "test.example"


@pytest.fixture(scope="module")
def house(
    bootstrap_servers: str,
    topic_prefix: str,
    database: FreshDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> House:
    folder: Path = tmp_path_factory.mktemp("delivery")
    return House(bootstrap_servers, topic_prefix, database, folder)


def listening(house: House) -> dict[str, Any]:
    return {
        "sandbox_listen": f"127.0.0.1:{free_port()}",
        "rpc_listen": f"127.0.0.1:{free_port()}",
        "sandbox_reply_delay_s": 0.2,
        "relay_allowed_networks": [],
    }


def test_every_magic_recipient_plays_its_part(house: House) -> None:
    expected = {
        "delivered+1": (events.ATTEMPT_OUTCOME_DELIVERED, "end_of_data", ""),
        "anybody": (events.ATTEMPT_OUTCOME_DELIVERED, "end_of_data", ""),
        '"try..this"': (events.ATTEMPT_OUTCOME_DELIVERED, "end_of_data", ""),
        '"delivered+a b"': (events.ATTEMPT_OUTCOME_DELIVERED, "end_of_data", ""),
        "ooto": (events.ATTEMPT_OUTCOME_DELIVERED, "end_of_data", ""),
        "complained+a": (events.ATTEMPT_OUTCOME_DELIVERED, "end_of_data", ""),
        "Bounced+label": (events.ATTEMPT_OUTCOME_PERMANENT, "end_of_data", "invalid_recipient"),
        "delayed": (events.ATTEMPT_OUTCOME_TEMPORARY, "end_of_data", "transient_failure"),
        "timeout": (events.ATTEMPT_OUTCOME_TEMPORARY, "rcpt", ""),
        "ambiguous": (events.ATTEMPT_OUTCOME_AMBIGUOUS, "end_of_data", ""),
    }

    async def story() -> None:
        doors = {**listening(house), "sweep_after_s": 60}
        async with house.running(**doors) as running:
            batch = await house.assigned(
                *(f"{name}@{DOMAIN}" for name in expected), at=doors["sandbox_listen"], test=True
            )
            answers = await running.send(batch)
            got = {
                name: (one.outcome, one.reply.step, one.bounce_class)
                for name in expected
                if (one := answers[f"{name}@{DOMAIN}"])
            }
            assert got == expected
            assert all(answer.test for answer in answers.values())
            assert answers[f"ambiguous@{DOMAIN}"].ambiguous

    asyncio.run(story())
    with house.database.connect() as owner:
        rows = owner.execute("SELECT count(*) FROM delivery.sandbox").fetchall()
        assert rows == [(9,)]  # all but timeout@
        waiting = owner.execute(
            "SELECT count(*) FROM delivery.outbox"
            " WHERE position('delivery.complaint-received'::bytea IN records) > 0"
        ).fetchall()
        assert waiting == [(1,)], "it comes after the delivery that it is about"


def test_a_delayed_message_is_taken_on_its_second_attempt(house: House) -> None:
    async def story() -> None:
        doors = listening(house)
        async with house.running(**doors) as running:
            at = doors["sandbox_listen"]
            batch = await house.assigned(f"delayed@{DOMAIN}", at=at, test=True, attempt=2)
            answers = await running.send(batch)
            assert answers[f"delayed@{DOMAIN}"].outcome == events.ATTEMPT_OUTCOME_DELIVERED

    asyncio.run(story())


def test_a_tenant_reads_its_own_captured_mail_and_no_other(house: House) -> None:
    async def story() -> None:
        doors = listening(house)
        async with house.running(**doors) as running:
            recipient = f"delivered+{uuid7_text()}@{DOMAIN}"
            batch = await house.assigned(recipient, at=doors["sandbox_listen"], test=True)
            await running.send(batch)
            peer = RpcClient("delivery", doors["rpc_listen"], "token")
            stub = DeliveryServiceStub(peer.channel)
            listed = await peer.call(
                stub.ListSandboxMessages,
                pb.ListSandboxMessagesRequest(tenant_id=house.tenant_id, recipient=recipient),
            )
            [message] = listed.messages
            assert message.subject == "Good news"
            assert message.message_id == batch[0].message_id
            assert not listed.has_more
            whole = await peer.call(
                stub.GetSandboxMessage,
                pb.GetSandboxMessageRequest(tenant_id=house.tenant_id, id=message.id),
            )
            assert b"DKIM-Signature" in whole.message.raw
            with house.database.connect() as owner:
                [(place,)] = owner.execute(
                    "SELECT position('DKIM-Signature'::bytea IN raw) FROM delivery.sandbox"
                    " WHERE id = %s",
                    (message.id,),
                ).fetchall()
            assert place == 0, "at rest it is sealed"
            with pytest.raises(RpcError, match="sandbox message"):
                await peer.call(
                    stub.GetSandboxMessage,
                    pb.GetSandboxMessageRequest(tenant_id=uuid7_text(), id=message.id),
                )
            await peer.close()

    asyncio.run(story())


def test_the_journal_says_what_became_of_an_attempt(house: House) -> None:
    async def story() -> None:
        doors = listening(house)
        async with house.running(**doors) as running:
            at = doors["sandbox_listen"]
            sent = await house.assigned(f"a@{DOMAIN}", at=at, test=True)
            late = await house.assigned(f"b@{DOMAIN}", at=at, test=True, in_s=-5)
            await running.send([*sent, *late])
            peer = RpcClient("delivery", doors["rpc_listen"], "token")
            ids = [sent[0].message_id, late[0].message_id, uuid7_text()]
            keys = [pb.AttemptKey(message_id=one, attempt=1) for one in ids]
            stub = DeliveryServiceStub(peer.channel)
            found = await peer.call(stub.GetAttempts, pb.GetAttemptsRequest(keys=keys))
            assert {one.key.message_id: one.attempted.outcome for one in found.attempts} == {
                sent[0].message_id: events.ATTEMPT_OUTCOME_DELIVERED,
                late[0].message_id: events.ATTEMPT_OUTCOME_STALE,
            }
            assert {one.stage for one in found.attempts} == {"done"}
            await peer.close()

    asyncio.run(story())


def test_pages_of_captured_mail_go_both_ways(house: House) -> None:
    async def story() -> None:
        doors = listening(house)
        async with house.running(**doors) as running:
            name = uuid7_text()
            batch = await house.assigned(
                *([f"delivered+{name}@{DOMAIN}"] * 5), at=doors["sandbox_listen"], test=True
            )
            await running.topics.publish(batch)
            await running.topics.answers(batch)
            peer = RpcClient("delivery", doors["rpc_listen"], "token")
            stub = DeliveryServiceStub(peer.channel)

            async def page(**more: str) -> pb.ListSandboxMessagesResponse:
                request = pb.ListSandboxMessagesRequest(
                    tenant_id=house.tenant_id,
                    limit=2,
                    recipient=f"delivered+{name}@{DOMAIN}",
                    **more,
                )
                return await peer.call(stub.ListSandboxMessages, request)

            first = await page()
            second = await page(after=first.messages[-1].id)
            third = await page(after=second.messages[-1].id)
            assert [len(one.messages) for one in (first, second, third)] == [2, 2, 1]
            assert [one.has_more for one in (first, second, third)] == [True, True, False]
            back = await page(before=third.messages[0].id)
            assert [one.id for one in back.messages] == [one.id for one in second.messages]
            await peer.close()

    asyncio.run(story())


def test_test_mail_that_hangs_holds_up_no_other_tenants(house: House) -> None:
    async def story() -> None:
        doors = listening(house)
        async with house.running(
            **doors | {"sandbox_reply_delay_s": 30.0, "shutdown_timeout_s": 0.1}
        ) as running:
            at = doors["sandbox_listen"]
            slow = await house.assigned(
                *(f"timeout+{n}@test.example" for n in range(40)), at=at, test=True, site="sandbox"
            )
            other = replace(house, tenant_id=uuid7_text(), domain_id=uuid7_text())
            await running.topics.publish([other.tenant(), other.domain(), *slow])
            batch = await other.assigned("ann@test.example", at=at, test=True, site="sandbox")
            answers = await running.send(batch)
            assert answers["ann@test.example"].outcome == events.ATTEMPT_OUTCOME_DELIVERED

    asyncio.run(story())


def test_live_mail_never_enters_the_sandbox_and_test_mail_never_leaves_it(house: House) -> None:
    async def story() -> None:
        doors = listening(house)
        async with house.running(**doors) as running:
            at = doors["sandbox_listen"]
            live = await house.assigned("live@test.example", at=at, egress_id="sandbox")
            outside = await house.assigned("test@test.example", at=at)
            outside[0].context.test = True
            past_the_guard = await house.assigned("sly@test.example", at=at)
            answers = await running.send([*live, *outside, *past_the_guard])
            assert {one.outcome for one in answers.values()} == {events.ATTEMPT_OUTCOME_PERMANENT}
            assert "test mail only" in answers["live@test.example"].reply.text
            assert "only go to the sandbox" in answers["test@test.example"].reply.text
            assert "private_address" in answers["sly@test.example"].reply.text

    asyncio.run(story())
