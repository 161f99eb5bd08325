"""A webhook is made, tested and deleted by gRPC, as by REST."""

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from contracts.ingest.v1 import webhook_service_pb2 as pb
from contracts.ingest.v1.webhook_service_pb2_grpc import WebhookServiceStub
from tests.support.engine import Engine, until


class Client:
    """Calls WebhookService with the key of the engine's account."""

    def __init__(self, engine: Engine, channel: grpc.Channel) -> None:
        self._stub: Any = WebhookServiceStub(channel)
        self._key = (("authorization", f"Bearer {engine.account.api_key}"),)

    def call(self, name: str, **fields: object) -> Any:  # noqa: ANN401 - its response
        request = getattr(pb, f"{name}Request")(**fields)
        return getattr(self._stub, name)(request, metadata=self._key, timeout=60)

    def refusal(self, name: str, **fields: object) -> grpc.StatusCode:
        with pytest.raises(grpc.RpcError) as refused:
            self.call(name, **fields)
        error: Any = refused.value
        code: grpc.StatusCode = error.code()
        return code


@pytest.fixture
def webhooks(engine: Engine) -> Iterator[Client]:
    with grpc.insecure_channel(engine.environment["INGEST_GRPC_LISTEN"]) as channel:
        yield Client(engine, channel)


def test_a_webhook_is_made_listed_and_deleted(engine: Engine, webhooks: Client) -> None:
    made = [
        webhooks.call("CreateWebhook", endpoint=f"https://{name}.example.com/").webhook
        for name in ("first", "second")
    ]
    first, second = (one.id for one in made)
    shown = webhooks.call("GetWebhook", id=first).webhook
    assert shown == made[0]
    key = {"Authorization": f"Bearer {engine.account.api_key}"}
    rest = httpx.get(f"{engine.url}/webhooks/{first}", headers=key, timeout=60).json()
    assert rest["signing_secret"] == shown.signing_secret != ""
    assert (rest["endpoint"], rest["status"]) == (shown.endpoint, shown.status)
    page = webhooks.call("ListWebhooks", page_size=1)
    assert [(one.id, one.signing_secret) for one in page.webhooks] == [(second, "")]
    last = webhooks.call("ListWebhooks", page_size=1, page_token=page.next_page_token)
    assert [one.id for one in last.webhooks] == [first]
    for one in (first, second):
        assert webhooks.call("DeleteWebhook", id=one).id == one
    assert webhooks.refusal("GetWebhook", id=first) == grpc.StatusCode.NOT_FOUND
    bad = webhooks.refusal("CreateWebhook", endpoint="https://x.example.com/", events=["Sent"])
    assert bad == grpc.StatusCode.INVALID_ARGUMENT


def test_the_events_of_a_webhook_are_read_page_by_page(webhooks: Client) -> None:
    hook = webhooks.call("CreateWebhook", endpoint="https://x.example.com/").webhook.id
    sent = [webhooks.call("TestWebhook", id=hook).id for _ in range(2)]
    found, token = [], ""
    for _ in sent:
        page = webhooks.call("ListWebhookEvents", id=hook, page_size=1, page_token=token)
        found += [(one.id, one.type) for one in page.events]
        token = page.next_page_token
    assert found == [(one, "webhook.test") for one in reversed(sent)]
    shown = webhooks.call("GetWebhookEvent", id=hook, event_id=sent[0])
    assert (shown.event.id, shown.payload["id"]) == (sent[0], sent[0])
    assert shown.payload["data"]["webhook_id"] == hook

    def attempts(**page: object) -> Any:  # noqa: ANN401 - a protobuf
        return webhooks.call("ListWebhookEventAttempts", id=hook, event_id=sent[0], **page)

    until(lambda: len(attempts().attempts) == 1)  # no host has that name
    assert webhooks.call("ReplayWebhookEvent", id=hook, event_id=sent[0]).id == sent[0]
    until(lambda: len(attempts().attempts) >= 2)
    second = attempts(page_size=1)
    first = attempts(page_size=50, page_token=second.next_page_token)
    assert [one.http_status_code for one in (*second.attempts, *first.attempts)][:2] == [0, 0]
    assert first.attempts[-1].error
    webhooks.call("DeleteWebhook", id=hook)


def test_a_webhook_has_filters_and_headers(webhooks: Client) -> None:
    given = {
        "tags": ["kind:order"], "streams": ["broadcast"], "svix_headers": True,
        "headers": {"X-Team": "mail"},
    }  # fmt: skip
    made = webhooks.call("CreateWebhook", endpoint="https://x.example.com/", **given).webhook
    changed = webhooks.call("UpdateWebhook", id=made.id, tags=["kind"], svix_headers=False).webhook
    assert (changed.tags, changed.streams, changed.svix_headers) == (["kind"], ["broadcast"], False)
    assert dict(webhooks.call("GetWebhook", id=made.id).webhook.headers) == {"X-Team": "mail"}
    for wrong in (
        {"headers": {"Host": "x"}}, {"streams": ["marketing"]}, {"tags": [""]},
        {"domain_ids": [made.id]}, {"domain_ids": ["mine"]},
    ):  # fmt: skip
        refused = webhooks.refusal("UpdateWebhook", id=made.id, **wrong)
        assert refused == grpc.StatusCode.INVALID_ARGUMENT
    webhooks.call("DeleteWebhook", id=made.id)


def test_a_secret_is_rotated(webhooks: Client) -> None:
    hook = webhooks.call("CreateWebhook", endpoint="https://x.example.com/").webhook
    rotated = webhooks.call("RotateWebhookSecret", id=hook.id, grace_s=60).webhook
    assert rotated.signing_secret not in {"", hook.signing_secret}
    assert rotated.HasField("previous_secret_expires_at")
    in_progress = webhooks.refusal("RotateWebhookSecret", id=hook.id)
    assert in_progress == grpc.StatusCode.FAILED_PRECONDITION
    too_long = webhooks.refusal("RotateWebhookSecret", id=hook.id, grace_s=1_000_000)
    assert too_long == grpc.StatusCode.INVALID_ARGUMENT
    revoked = webhooks.call("RevokePreviousWebhookSecret", id=hook.id).webhook
    assert not revoked.HasField("previous_secret_expires_at")
    webhooks.call("DeleteWebhook", id=hook.id)


def test_what_a_webhook_has_missed_is_recovered(webhooks: Client) -> None:
    hook = webhooks.call("CreateWebhook", endpoint="https://x.example.com/").webhook.id
    assert webhooks.refusal("GetWebhookRecovery", id=hook) == grpc.StatusCode.NOT_FOUND
    since = "2026-11-28T06:00:00Z"
    types = ["email.complained"]
    started = webhooks.call("RecoverWebhook", id=hook, since=since, types=types).recovery
    assert (started.status, started.types) == ("in_progress", types)
    assert started.since.ToJsonString() == since
    again = webhooks.refusal("RecoverWebhook", id=hook, since=since)
    assert again == grpc.StatusCode.FAILED_PRECONDITION
    until(lambda: webhooks.call("GetWebhookRecovery", id=hook).recovery.status == "finished")
    for wrong in ({"since": "soon"}, {"since": since, "types": ["email.lost"]}, {}):
        refused = webhooks.refusal("RecoverWebhook", id=hook, **wrong)
        assert refused == grpc.StatusCode.INVALID_ARGUMENT
    webhooks.call("DeleteWebhook", id=hook)
