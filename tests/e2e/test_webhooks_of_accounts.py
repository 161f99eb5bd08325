"""Webhooks of accounts by REST, gRPC and `obm`: they receive the events of all tenants of the
account, and its own."""

from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import httpx
import pytest

from contracts.ingest.v1 import webhook_service_pb2 as pb
from contracts.ingest.v1.webhook_service_pb2_grpc import WebhookServiceStub
from tests.support.accounts import add_account_key, create_account, keys_of_callers
from tests.support.engine import Engine, until
from tests.support.shell import Shell

URL = "https://hooks.example.com/"
MISSING = "01890000-0000-7000-8000-000000000000"


@dataclass
class Platform:
    """An account with two tenants, and another account. tenant: the first tenant's key."""

    account_id: str
    key: str
    account: httpx.Client
    tenant: httpx.Client
    other: httpx.Client
    tenant_ids: tuple[str, str]
    foreign_tenant_id: str

    def types(self, webhook_id: str) -> set[str]:
        """Of what was sent to a webhook, or is to be sent."""
        listed = self.account.get(f"/webhooks/{webhook_id}/events").json()["data"]
        return {one["type"] for one in listed}


@pytest.fixture
def platform(engine: Engine) -> Iterator[Platform]:
    made = create_account(engine.environment, "platform.example.net", test=False)
    stranger = create_account(engine.environment, "stranger.example.net", test=False)
    keys = [add_account_key(engine.environment, one.account_id) for one in (made, stranger)]
    account, other, tenant = (
        httpx.Client(base_url=engine.url, headers={"Authorization": f"Bearer {key}"}, timeout=120)
        for key in (*keys, made.api_key)
    )
    with account, other, tenant:
        second = account.post("/tenants", json={"name": "second"}).json()["id"]
        yield Platform(
            made.account_id, keys[0], account, tenant, other,
            (made.tenant_id, second), stranger.tenant_id,
        )  # fmt: skip


def test_an_account_hears_of_all_its_tenants_and_of_itself(
    engine: Engine, platform: Platform
) -> None:
    hook = platform.account.post("/webhooks", json={"endpoint": URL}).json()
    assert (hook["tenant_id"], hook["tenant_ids"], hook["events"]) == (None, [], [])
    assert hook["signing_secret"].startswith("whsec_")
    only = platform.account.post(
        "/webhooks", json={"endpoint": URL, "tenant_ids": [platform.tenant_ids[0]]}
    ).json()
    everywhere = {"email": "ann@x.example", "scope": "account"}
    platform.account.post("/suppressions", json=everywhere)
    domain = platform.tenant.post("/domains", json={"name": "new.platform.example.net"})
    assert domain.status_code == 201
    # From then on events knows whose tenant it is.
    until(lambda: "domain.created" in platform.types(only["id"]))
    platform.tenant.post("/suppressions", json={"email": "bob@x.example"})
    platform.account.delete("/suppressions/ann@x.example")
    until(
        lambda: (
            platform.types(hook["id"])
            == {"suppression.added", "suppression.removed", "domain.created"}
        )
    )
    until(lambda: platform.types(only["id"]) == {"suppression.added", "domain.created"})

    # A suspended account keeps its endpoints, for the events of what was accepted before.
    operator = {"Authorization": f"Bearer {keys_of_callers(engine.environment)['accounts']}"}
    suspended = platform.account.post(f"/accounts/{platform.account_id}/suspend", headers=operator)
    assert suspended.status_code == 200
    sent = platform.account.post(f"/webhooks/{hook['id']}/test")
    assert sent.status_code == 202
    until(lambda: "webhook.test" in platform.types(hook["id"]))


def test_a_webhook_of_an_account_is_its_own(platform: Platform) -> None:
    hook = platform.account.post("/webhooks", json={"endpoint": URL}).json()
    path = f"/webhooks/{hook['id']}"
    shown = platform.account.get(path).json()
    assert shown == hook
    changes = {"tenant_ids": [platform.tenant_ids[0]], "events": ["email.bounced"]}
    changed = platform.account.patch(path, json=changes).json()
    assert (changed["tenant_ids"], changed["events"]) == (
        [platform.tenant_ids[0]], ["email.bounced"],
    )  # fmt: skip
    named = {"X-Tenant-Id": platform.tenant_ids[0]}
    for caller, headers in (
        (platform.tenant, {}), (platform.other, {}), (platform.account, named),
    ):  # fmt: skip
        for method, of in (
            ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/events"),
        ):  # fmt: skip
            body = {"status": "disabled"} if method == "PATCH" else None
            refused = caller.request(method, path + of, json=body, headers=headers)
            assert refused.status_code == 404, (method, of)
        listed = caller.get("/webhooks", headers=headers).json()["data"]
        assert hook["id"] not in {one["id"] for one in listed}
    own = platform.account.post("/webhooks", json={"endpoint": URL}, headers=named).json()
    listed = platform.account.get("/webhooks").json()["data"]
    assert {one["id"]: one["tenant_id"] for one in listed} == {
        hook["id"]: None, own["id"]: platform.tenant_ids[0],
    }  # fmt: skip
    assert platform.account.delete(path).status_code == 200
    assert platform.account.get(path).status_code == 404


def test_tenants_that_are_not_the_callers_are_refused_with_a_pointer(platform: Platform) -> None:
    hook = platform.account.post("/webhooks", json={"endpoint": URL}).json()
    for foreign in (platform.foreign_tenant_id, MISSING, "no id"):
        body = {"endpoint": URL, "tenant_ids": [platform.tenant_ids[0], foreign]}
        for method, path in (("POST", "/webhooks"), ("PATCH", f"/webhooks/{hook['id']}")):
            refused = platform.account.request(method, path, json=body)
            [fault] = refused.json()["errors"]
            assert (refused.status_code, fault["pointer"]) == (422, "#/tenant_ids/1")
            assert fault["detail"].startswith("There is no such tenant.")
    body = {"endpoint": URL, "tenant_ids": [platform.tenant_ids[0]]}
    refused = platform.tenant.post("/webhooks", json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "#/tenant_ids"


def test_a_webhook_of_an_account_by_grpc(engine: Engine, platform: Platform) -> None:
    metadata = (("authorization", f"Bearer {platform.key}"),)
    with grpc.insecure_channel(engine.environment["INGEST_GRPC_LISTEN"]) as channel:
        stub = WebhookServiceStub(channel)
        wanted = pb.CreateWebhookRequest(endpoint=URL, tenant_ids=platform.tenant_ids)
        made = stub.CreateWebhook(wanted, metadata=metadata, timeout=60).webhook
        assert (made.tenant_id, tuple(made.tenant_ids)) == ("", platform.tenant_ids)
        change = pb.UpdateWebhookRequest(id=made.id, tenant_ids=platform.tenant_ids[:1])
        changed = stub.UpdateWebhook(change, metadata=metadata, timeout=60).webhook
        assert tuple(changed.tenant_ids) == platform.tenant_ids[:1]
        listed = stub.ListWebhooks(pb.ListWebhooksRequest(), metadata=metadata, timeout=60)
        assert [one.id for one in listed.webhooks] == [made.id]


def test_webhooks_in_a_shell(engine: Engine, platform: Platform) -> None:
    shell = Shell({"OBM_API_URL": engine.url, "OBM_API_KEY": platform.key})
    second = platform.tenant_ids[1]
    made, secret = shell.obm(
        "webhooks", "create", URL, "--account-wide", "--event", "suppression.added",
        "--only", "tenant=second",
    ).split()  # fmt: skip
    assert secret.startswith("whsec_")
    shell.obm("webhooks", "create", URL + "own", "--tenant", second)
    listed = shell.obm("webhooks", "list", "--account-wide")
    assert made in listed
    assert URL + "own" in listed
    assert made not in shell.obm("webhooks", "list", "--tenant", second)
    shell.obm("webhooks", "update", made, "--endpoint", URL + "new", "--disable")
    found = platform.account.get(f"/webhooks/{made}").json()
    assert (found["endpoint"], found["status"], found["tenant_ids"]) == (
        URL + "new", "disabled", [second],
    )  # fmt: skip
    shell.obm("webhooks", "update", made, "--enable")
    sent = shell.obm("webhooks", "test", made)
    until(lambda: sent in shell.obm("webhooks", "events", made))
    until(lambda: "Error" in shell.obm("webhooks", "attempts", made, sent))
    shell.obm("webhooks", "replay", made, sent)
    shell.obm("webhooks", "recover", made, "--since", "2026-11-28T06:00", "--event", "email.sent")
    until(lambda: "finished" in shell.obm("webhooks", "recovery", made))
    rotated = shell.obm("webhooks", "rotate-secret", made, "--grace-s", "3600")
    assert platform.account.get(f"/webhooks/{made}").json()["signing_secret"] == rotated != secret
    assert "in progress" in shell.refused("webhooks", "rotate-secret", made)
    shell.obm("webhooks", "revoke-secret", made)
    shell.obm("webhooks", "delete", made)
    assert "not found" in shell.refused("webhooks", "test", made)
    assert "--account-wide" in shell.refused("webhooks", "list")


def test_what_a_webhook_receives_is_chosen_in_a_shell(engine: Engine, platform: Platform) -> None:
    shell = Shell({"OBM_API_URL": engine.url, "OBM_API_KEY": platform.key})
    made, _ = shell.obm("webhooks", "create", URL, "--account-wide").split()
    shell.obm(
        "webhooks", "update", made, "--only", "tag=kind:order", "--only", "stream=broadcast",
        "--header", "X-Team: mail", "--svix-headers", "--only", "domain=platform.example.net",
    )  # fmt: skip
    found = platform.account.get(f"/webhooks/{made}").json()
    assert (found["tags"], found["streams"]) == (["kind:order"], ["broadcast"])
    assert (found["headers"], found["svix_headers"]) == ({"X-Team": "mail"}, True)
    assert len(found["domain_ids"]) == 1
    assert "--only" in shell.refused("webhooks", "update", made, "--only", "list=news")
    assert "--header" in shell.refused("webhooks", "update", made, "--header", "X-Team")
