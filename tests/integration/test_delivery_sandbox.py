"""The sandbox captures test mail over SMTP, and each magic recipient gets its scenario."""

from dataclasses import replace
from typing import Any

import pytest

from contracts.delivery.v1 import delivery_service_pb2 as pb
from contracts.delivery.v1 import events_pb2 as events
from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from kernel.embedded.folder import free_port
from kernel.ids import uuid7_text
from kernel.rpc import RpcClient, RpcError
from tests.support.delivery import Harness
from tests.support.stack import harness_fixture

DOMAIN = "test.example"


harness = harness_fixture(Harness, scope="module")


def listen_settings(harness: Harness) -> dict[str, Any]:
    return {
        "sandbox_listen": f"127.0.0.1:{free_port()}",
        "rpc_listen": f"127.0.0.1:{free_port()}",
        "sandbox_reply_delay_s": 0.2,
        "relay_allowed_networks": [],
    }


async def test_every_magic_recipient_gets_its_scenario(harness: Harness) -> None:
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

    settings = {**listen_settings(harness), "outbox_sweep_after_s": 60}
    async with harness.running(**settings) as running:
        batch = await harness.assign(
            *(f"{name}@{DOMAIN}" for name in expected), at=settings["sandbox_listen"], test=True
        )
        results = await running.send(batch)
        found_outcomes = {
            name: (one.outcome, one.reply.step, one.bounce_class)
            for name in expected
            if (one := results[f"{name}@{DOMAIN}"])
        }
        assert found_outcomes == expected
        assert all(result.test for result in results.values())
        assert results[f"ambiguous@{DOMAIN}"].ambiguous

    with harness.database.connect() as owner:
        rows = owner.execute("SELECT count(*) FROM delivery.sandbox").fetchall()
        assert rows == [(9,)]  # all but timeout@
        waiting = owner.execute(
            "SELECT count(*) FROM delivery.outbox"
            " WHERE position('delivery.complaint-received'::bytea IN records) > 0"
        ).fetchall()
        assert waiting == [(1,)], "the complaint is published after the delivery"


async def test_a_delayed_message_is_accepted_at_its_second_attempt(harness: Harness) -> None:
    settings = listen_settings(harness)
    async with harness.running(**settings) as running:
        at = settings["sandbox_listen"]
        batch = await harness.assign(f"delayed@{DOMAIN}", at=at, test=True, attempt=2)
        results = await running.send(batch)
        assert results[f"delayed@{DOMAIN}"].outcome == events.ATTEMPT_OUTCOME_DELIVERED


async def test_a_tenant_can_read_only_its_own_captured_mail(harness: Harness) -> None:
    settings = listen_settings(harness)
    async with harness.running(**settings) as running:
        recipient = f"delivered+{uuid7_text()}@{DOMAIN}"
        batch = await harness.assign(recipient, at=settings["sandbox_listen"], test=True)
        await running.send(batch)
        peer = RpcClient("delivery", settings["rpc_listen"], "token")
        stub = DeliveryServiceStub(peer.channel)
        listed = await peer.call(
            stub.ListSandboxMessages,
            pb.ListSandboxMessagesRequest(tenant_id=harness.tenant_id, recipient=recipient),
        )
        [message] = listed.messages
        assert message.subject == "Good news"
        assert message.message_id == batch[0].message_id
        assert not listed.has_more
        response = await peer.call(
            stub.GetSandboxMessage,
            pb.GetSandboxMessageRequest(tenant_id=harness.tenant_id, id=message.id),
        )
        assert b"DKIM-Signature" in response.message.raw
        with harness.database.connect() as owner:
            [(position,)] = owner.execute(
                "SELECT position('DKIM-Signature'::bytea IN raw) FROM delivery.sandbox"
                " WHERE id = %s",
                (message.id,),
            ).fetchall()
        assert position == 0, "captured mail is sealed at rest"
        with pytest.raises(RpcError, match="sandbox message"):
            await peer.call(
                stub.GetSandboxMessage,
                pb.GetSandboxMessageRequest(tenant_id=uuid7_text(), id=message.id),
            )
        await peer.close()


async def test_the_journal_returns_the_results_of_attempts(harness: Harness) -> None:
    settings = listen_settings(harness)
    async with harness.running(**settings) as running:
        at = settings["sandbox_listen"]
        sent = await harness.assign(f"a@{DOMAIN}", at=at, test=True)
        late = await harness.assign(f"b@{DOMAIN}", at=at, test=True, in_s=-5)
        await running.send([*sent, *late])
        peer = RpcClient("delivery", settings["rpc_listen"], "token")
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


async def test_captured_mail_can_be_paged_in_both_directions(harness: Harness) -> None:
    settings = listen_settings(harness)
    async with harness.running(**settings) as running:
        name = uuid7_text()
        batch = await harness.assign(
            *([f"delivered+{name}@{DOMAIN}"] * 5), at=settings["sandbox_listen"], test=True
        )
        await running.topics.publish(batch)
        await running.topics.results(batch)
        peer = RpcClient("delivery", settings["rpc_listen"], "token")
        stub = DeliveryServiceStub(peer.channel)

        async def page(**more: str) -> pb.ListSandboxMessagesResponse:
            request = pb.ListSandboxMessagesRequest(
                tenant_id=harness.tenant_id,
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


async def test_test_mail_that_hangs_does_not_delay_another_tenant(harness: Harness) -> None:
    settings = listen_settings(harness)
    async with harness.running(
        **settings | {"sandbox_reply_delay_s": 30.0, "shutdown_timeout_s": 0.1}
    ) as running:
        at = settings["sandbox_listen"]
        slow = await harness.assign(
            *(f"timeout+{n}@test.example" for n in range(40)), at=at, test=True, site="sandbox"
        )
        other = replace(harness, tenant_id=uuid7_text(), domain_id=uuid7_text())
        await running.topics.publish([other.tenant(), other.domain(), *slow])
        batch = await other.assign("ann@test.example", at=at, test=True, site="sandbox")
        results = await running.send(batch)
        assert results["ann@test.example"].outcome == events.ATTEMPT_OUTCOME_DELIVERED


async def test_live_mail_never_enters_the_sandbox_and_test_mail_never_leaves_it(
    harness: Harness,
) -> None:
    settings = listen_settings(harness)
    async with harness.running(**settings) as running:
        at = settings["sandbox_listen"]
        live = await harness.assign("live@test.example", at=at, egress_id="sandbox")
        outside = await harness.assign("test@test.example", at=at)
        outside[0].context.test = True
        to_the_sandbox_port = await harness.assign("sly@test.example", at=at)
        results = await running.send([*live, *outside, *to_the_sandbox_port])
        assert {one.outcome for one in results.values()} == {events.ATTEMPT_OUTCOME_PERMANENT}
        assert "only test mail" in results["live@test.example"].reply.text
        assert "must go to the sandbox" in results["test@test.example"].reply.text
        assert "private address" in results["sly@test.example"].reply.text
