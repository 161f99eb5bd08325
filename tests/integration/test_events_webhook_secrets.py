"""The signing secret of a webhook is replaced; for a time both secrets sign."""

from typing import Any

from standardwebhooks import Webhook as Verifier

from contracts.events.v1 import events_service_pb2 as pb
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.message_events import MessageEvents
from tests.support.receiver import Receiver, receiving

__all__ = ["run_scenario"]


class SignedHook:
    """A webhook of a new tenant."""

    def __init__(self, events: Running, receiver: Receiver) -> None:
        self.events = events
        self.receiver = receiver
        self.tenant_id = MessageEvents().tenant_id
        self.names: dict[str, Any] = {"tenant_id": self.tenant_id}

    async def call(self, name: str, **fields: Any) -> Any:  # noqa: ANN401 - its response
        request = getattr(pb, f"{name}Request")(**self.names, **fields)
        return await self.events.call(getattr(self.events.stub, name), request)

    async def create(self) -> str:
        """Returns the secret."""
        webhook = (await self.call("CreateWebhook", url=self.receiver.url)).webhook
        self.names["id"] = webhook.id
        return str(webhook.signing_secret)

    async def rotate(self, **fields: Any) -> pb.Webhook:  # noqa: ANN401
        webhook: pb.Webhook = (await self.call("RotateWebhookSecret", **fields)).webhook
        return webhook

    async def check_signed_by(self, *secrets: str) -> None:
        """Of a new event, which the process that records it sends, and of one that was queued."""
        received = self.receiver.received
        before = len(received)
        await self.events.publish(MessageEvents(tenant_id=self.tenant_id).accepted())
        await until(lambda: len(received) == before + 1)
        await self.call("TestWebhook")
        await until(lambda: len(received) == before + 2)
        for one in received[before:]:
            assert len(one.headers["webhook-signature"].split(" ")) == len(secrets)
            for secret in secrets:
                Verifier(secret).verify(one.body, one.headers)


def test_both_secrets_sign_until_the_previous_one_is_revoked(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            hook = SignedHook(events, receiver)
            old = await hook.create()
            first = await hook.rotate(grace_s=3600)
            assert first.HasField("previous_secret_expires_at")
            await hook.check_signed_by(first.signing_secret, old)
            assert not (await hook.rotate(grace_s=3600)).id  # one is in progress
            second = await hook.rotate(grace_s=3600, force=True)
            await hook.check_signed_by(second.signing_secret, first.signing_secret)
            revoked = (await hook.call("RevokePreviousWebhookSecret")).webhook
            assert not revoked.HasField("previous_secret_expires_at")
            assert revoked.signing_secret == ""
            await hook.check_signed_by(second.signing_secret)

    run_scenario.shared(scenario)


def test_the_previous_secret_signs_no_longer_than_its_time(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        async with receiving() as receiver:
            hook = SignedHook(events, receiver)
            await hook.create()
            first = await hook.rotate(grace_s=0)
            assert not first.HasField("previous_secret_expires_at")
            await hook.check_signed_by(first.signing_secret)
            second = await hook.rotate(grace_s=3600)
            events.rows(
                "UPDATE events.webhooks SET previous_until = now() WHERE id = %s RETURNING 1",
                (hook.names["id"],),
            )
            await hook.check_signed_by(second.signing_secret)
            shown = (await hook.call("GetWebhook")).webhook
            assert shown.signing_secret == second.signing_secret
            assert not shown.HasField("previous_secret_expires_at")

    run_scenario.shared(scenario)
