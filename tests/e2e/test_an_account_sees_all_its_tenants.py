"""The key of an account without X-Tenant-Id lists and uses what all its tenants have, by REST and
by gRPC; each item names its tenant."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest

from contracts.ingest.v1 import (
    audit_service_pb2,
    email_service_pb2,
    suppression_service_pb2,
    webhook_service_pb2,
)
from contracts.ingest.v1.audit_service_pb2_grpc import AuditServiceStub
from contracts.ingest.v1.email_service_pb2_grpc import EmailServiceStub
from contracts.ingest.v1.suppression_service_pb2_grpc import SuppressionServiceStub
from contracts.ingest.v1.webhook_service_pb2_grpc import WebhookServiceStub
from tests.support.accounts import add_account_key, create_account
from tests.support.engine import Engine, until

DOMAIN = "account.obm-sandbox.net"


@dataclass
class Account:
    """Two tenants with an email, a webhook and a suppression each; the ids are the newest first."""

    http: httpx.Client
    channel: grpc.Channel
    tenants: list[str]
    emails: list[str]
    webhooks: list[str]

    def rows(self, path: str, **params: str) -> list[tuple[str, str]]:
        listed = self.http.get(path, params=params)
        assert listed.status_code == 200, listed.text
        return [(one["id"], one["tenant_id"]) for one in listed.json()["data"]]

    def call(self, stub: Callable[[grpc.Channel], Any], rpc: str, request: Any) -> Any:  # noqa: ANN401
        key = (("authorization", self.http.headers["Authorization"]),)
        return getattr(stub(self.channel), rpc)(request, metadata=key, timeout=60)


@pytest.fixture(scope="module")
def account(engine: Engine) -> Iterator[Account]:
    made = create_account(engine.environment, DOMAIN, test=False)
    key = {"Authorization": f"Bearer {add_account_key(engine.environment, made.account_id)}"}
    address = engine.environment["INGEST_GRPC_LISTEN"]
    with (
        httpx.Client(base_url=engine.url, headers=key, timeout=120) as http,
        grpc.insecure_channel(address) as channel,
    ):
        second = http.post("/tenants", json={"name": "second"}).json()["id"]
        found = Account(http, channel, [second, made.tenant_id], [], [])
        domain = {"name": "second.example.net", "shared": True}
        created = http.post("/domains", json=domain, headers={"X-Tenant-Id": second})
        assert created.status_code == 201, created.text
        for tenant in reversed(found.tenants):
            named = {"X-Tenant-Id": tenant}
            hook = {"endpoint": f"https://{tenant}.example.com/"}
            found.webhooks.insert(0, http.post("/webhooks", json=hook, headers=named).json()["id"])
            gone = {"email": "gone@x.example"}
            assert http.post("/suppressions", json=gone, headers=named).status_code == 201
            email: dict[str, Any] = {
                "from": "a@second.example.net", "to": "delivered@obm-sandbox.net",
                "subject": "Hi", "text": "x", "test": True,
            }  # fmt: skip
            if tenant == second:
                email["tags"] = [{"name": "order", "value": "1"}]
            sent = http.post("/emails", json=email, headers=named)
            assert sent.status_code == 202, sent.text
            found.emails.insert(0, sent.json()["id"])
        until(lambda: len(found.rows("/emails", status="delivered")) == 2)
        yield found


def test_lists_span_the_account(account: Account) -> None:
    emails = list(zip(account.emails, account.tenants, strict=True))
    webhooks = list(zip(account.webhooks, account.tenants, strict=True))
    assert account.rows("/emails") == emails
    assert account.rows("/emails", limit="1") == emails[:1]
    assert account.rows("/emails", limit="1", after=emails[0][0]) == emails[1:]
    assert account.rows("/webhooks") == webhooks
    suppressions = account.rows("/suppressions", email="gone@x.example")
    assert [tenant for _, tenant in suppressions] == account.tenants
    assert {tenant for _, tenant in account.rows("/queues")} <= set(account.tenants)

    stub: Any = EmailServiceStub
    listed = account.call(stub, "ListEmails", email_service_pb2.ListEmailsRequest()).emails
    assert [(one.id, one.tenant_id) for one in listed] == emails
    stub = WebhookServiceStub
    found = account.call(stub, "ListWebhooks", webhook_service_pb2.ListWebhooksRequest()).webhooks
    assert [(one.id, one.tenant_id) for one in found] == webhooks
    request = suppression_service_pb2.ListSuppressionsRequest(email="gone@x.example")
    gone = account.call(SuppressionServiceStub, "ListSuppressions", request).suppressions
    assert [(one.id, one.tenant_id) for one in gone] == suppressions


def test_a_named_tenant_restricts_them(account: Account) -> None:
    for path in ("/emails", "/webhooks", "/suppressions"):
        for tenant in account.tenants:
            listed = account.http.get(path, headers={"X-Tenant-Id": tenant}).json()["data"]
            assert {one["tenant_id"] for one in listed} == {tenant}, path


def test_filters_span_the_account(account: Account) -> None:
    emails = list(zip(account.emails, account.tenants, strict=True))
    some: list[dict[str, Any]] = [
        {"to": "delivered@obm-sandbox.net"},
        {"domain": "obm-sandbox.net"},
    ]
    for given in some:
        assert account.rows("/emails", **given) == emails
        assert account.rows("/emails", **given, status="bounced") == []
        request = email_service_pb2.ListEmailsRequest(**given, page_size=1)
        found = account.call(EmailServiceStub, "ListEmails", request)
        assert [one.id for one in found.emails] == [account.emails[0]]
    assert account.rows("/emails", tag="order") == emails[:1]
    assert account.rows("/emails", tag="order:1", domain="obm-sandbox.net") == emails[:1]
    assert account.rows("/emails", to="nobody@obm-sandbox.net") == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("/emails?status=arrived", "status"),
        ("/emails?since=yesterday", "since"),
        ("/emails?limit=0", "limit"),
        ("/emails?limit=101", "limit"),
        ("/emails?to=a%00b", "to"),
        ("/emails/events?type=email.arrived", "type"),
        ("/emails/events?until=now", "until"),
        ("/emails/metrics?dimensions=colour", "dimensions"),
        ("/emails/metrics?metrics=colour", "metrics"),
        ("/suppressions?origin=hearsay", "origin"),
        ("/suppressions?since=yesterday", "since"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(account: Account, query: str, pointer: str) -> None:
    refused = account.http.get(query)
    assert refused.status_code == 422, refused.text
    assert [one["pointer"] for one in refused.json()["errors"]] == [f"#/query/{pointer}"]


def test_an_email_is_found_by_its_id(account: Account) -> None:
    for email, tenant in zip(account.emails, account.tenants, strict=True):
        shown = account.http.get(f"/emails/{email}").json()
        assert (shown["id"], shown["tenant_id"], shown["text"]) == (email, tenant, "x")
        events = account.http.get(f"/emails/{email}/events").json()["data"]
        assert events[-1]["type"] == "email.delivered"
        assert account.http.post(f"/emails/{email}/cancel").json()["name"] == "not_scheduled"
        request = email_service_pb2.GetEmailRequest(id=email)
        got = account.call(EmailServiceStub, "GetEmail", request).email
        assert (got.tenant_id, got.last_event) == (tenant, "delivered")


def test_a_webhook_is_changed_by_its_id(account: Account) -> None:
    hook = account.webhooks[1]
    changes = {"endpoint": "https://new.example.com/", "events": ["email.bounced"]}
    changed = account.http.patch(f"/webhooks/{hook}", json={**changes, "status": "disabled"})
    assert changed.status_code == 200, changed.text
    assert changed.json().items() >= {**changes, "status": "disabled", "id": hook}.items()
    request = webhook_service_pb2.UpdateWebhookRequest(id=hook, status="enabled")
    enabled = account.call(WebhookServiceStub, "UpdateWebhook", request).webhook
    assert (enabled.endpoint, list(enabled.events), enabled.status) == (
        changes["endpoint"], changes["events"], "enabled",
    )  # fmt: skip
    assert account.http.patch(f"/webhooks/{hook}", json={"events": []}).json()["events"] == []
    for wrong in ({"status": "off"}, {"endpoint": "http://192.0.2.1/"}, {"events": ["a.b"]}):
        assert account.http.patch(f"/webhooks/{hook}", json=wrong).status_code == 422


def test_the_audit_log_by_grpc_is_that_of_rest(account: Account) -> None:
    rest = account.http.get("/audit", params={"resource": "domain"}).json()["data"]
    request = audit_service_pb2.ListAuditEntriesRequest(resource="domain")
    entries = account.call(AuditServiceStub, "ListAuditEntries", request).entries
    assert [one.id for one in entries] == [one["id"] for one in rest]
    by_key = [one for one in rest if one["actor"]["kind"] == "account"]
    assert by_key
    for one in by_key:  # domains are changed by callers of operations on a tenant
        assert one["request_id"]
        assert one["client"] == "127.0.0.1"
    [entry] = [one for one in entries if one.id == by_key[0]["id"]]
    assert (entry.request_id, entry.client) == (by_key[0]["request_id"], "127.0.0.1")
    assert entry.after["name"] == "second.example.net"
