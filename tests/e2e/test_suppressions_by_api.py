"""Suppressions by the API of a running engine: of tenants, of lists and of accounts, with what they
stop, what the audit log has of them, and what webhooks tell."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest

from contracts.ingest.v1 import suppression_service_pb2 as pb
from contracts.ingest.v1.suppression_service_pb2_grpc import SuppressionServiceStub
from tests.support.accounts import add_account_key, create_account
from tests.support.engine import Engine, engine_of, until
from tests.support.stack import FreshDatabase

DOMAIN = "suppressing.obm-sandbox.net"
SOON = "2090-01-31T00:00:00.000Z"


ROUTES = """
[[route]]
domain = "reached.net"
mx_hosts = ["127.0.0.1:1"]
site = "reached"
"""


@pytest.fixture(scope="module")
def engine(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:  # fmt: skip
    """An engine that knows a route for the live mail that is suppressed here."""
    folder = tmp_path_factory.mktemp("engine")
    routes = folder / "routes.toml"
    routes.write_text(ROUTES)
    settings = {"OBM_KAFKA_TOPIC_PREFIX": topic_prefix, "ROUTER_ROUTES_FILE": str(routes)}
    with engine_of(
        folder, bootstrap_servers=bootstrap_servers, database=database, settings=settings
    ) as running:
        yield running


@dataclass
class Callers:
    """The keys of a tenant, of its account, and of another account."""

    tenant: httpx.Client
    account: httpx.Client
    other: httpx.Client
    tenant_id: str
    channel: grpc.Channel

    def rpc(self, http: httpx.Client, name: str, request: Any) -> Any:  # noqa: ANN401
        key = (("authorization", http.headers["Authorization"]),)
        stub: Any = SuppressionServiceStub(self.channel)
        return getattr(stub, name)(request, metadata=key, timeout=60)


@pytest.fixture(scope="module")
def callers(engine: Engine) -> Iterator[Callers]:
    made = create_account(engine.environment, DOMAIN, test=False)
    stranger = create_account(engine.environment, "stranger.obm-sandbox.net", test=False)
    keys = [made.api_key] + [
        add_account_key(engine.environment, one.account_id) for one in (made, stranger)
    ]
    tenant, account, other = (
        httpx.Client(base_url=engine.url, headers={"Authorization": f"Bearer {key}"}, timeout=120)
        for key in keys
    )
    with tenant, account, other, grpc.insecure_channel(
        engine.environment["INGEST_GRPC_LISTEN"]
    ) as channel:  # fmt: skip
        yield Callers(tenant, account, other, made.tenant_id, channel)


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    found = response.json()
    return response.status_code, found["name"], found["errors"][0]["pointer"]


def test_a_suppression_has_all_its_fields(callers: Callers) -> None:
    given = {
        "email": "Ann <Ann@X.example>", "list": "news", "origin": "unsubscribe",
        "reason": "page", "note": "by phone", "expires_at": SOON,
    }  # fmt: skip
    added = callers.tenant.post("/suppressions", json=given)
    assert added.status_code == 201, added.text
    one = added.json()
    assert one | {"id": "", "created_at": ""} == {
        "object": "suppression", "id": "", "tenant_id": callers.tenant_id,
        "email": "Ann@x.example", "scope": "list", "list": "news", "origin": "unsubscribe",
        "reason": "page", "note": "by phone", "source_id": None, "created_at": "",
        "expires_at": SOON,
    }  # fmt: skip
    path = "/suppressions/ann@x.example"
    assert callers.tenant.get(path).status_code == 404
    assert callers.tenant.get(path, params={"list": "news"}).json() == one
    assert callers.tenant.get(f"/suppressions/{one['id']}").json() == one
    assert callers.other.get(f"/suppressions/{one['id']}").status_code == 404
    request = pb.GetSuppressionRequest(email="ann@x.example", list="news")
    found = callers.rpc(callers.tenant, "GetSuppression", request).suppression
    assert (found.id, found.scope, found.note) == (one["id"], "list", "by phone")
    assert callers.tenant.delete(path).status_code == 404
    assert callers.tenant.delete(path, params={"list": "news"}).json()["id"] == one["id"]


def test_wrong_fields_are_refused_with_a_pointer(callers: Callers) -> None:
    def add(**fields: object) -> tuple[int, str, str]:
        return refusal(
            callers.tenant.post("/suppressions", json={"email": "a@x.example", **fields})
        )

    assert add(scope="list") == (422, "missing_required_field", "#/list")
    assert add(expires_at="2001-01-01T00:00:00Z") == (422, "validation_error", "#/expires_at")
    assert add(expires_at="soon") == (422, "validation_error", "#/expires_at")
    assert add(note="x" * 1001)[1:] == ("validation_error", "#/note")
    assert add(note="a\0b")[1:] == ("validation_error", "#/note")
    assert add(list="né")[1:] == ("validation_error", "#/list")
    assert add(origin="hearsay")[1:] == ("validation_error", "#/origin")
    forbidden = callers.tenant.post(
        "/suppressions", json={"email": "a@x.example", "scope": "account"}
    )
    assert (forbidden.status_code, forbidden.json()["name"]) == (403, "restricted_api_key")
    unnamed = callers.account.post("/suppressions", json={"email": "a@x.example"})
    assert refusal(unnamed) == (422, "missing_required_field", "#/scope")
    with pytest.raises(grpc.RpcError) as refused:
        callers.rpc(callers.tenant, "ListSuppressions", pb.ListSuppressionsRequest(origin="x"))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert callers.tenant.get("/suppressions", params={"origin": "x"}).status_code == 422


def test_a_complaint_is_removed_by_force_and_the_audit_log_has_it(callers: Callers) -> None:
    emails = ["angry@x.example", "calm@x.example"]
    callers.tenant.post("/suppressions", json={"email": emails[0], "origin": "complaint"})
    callers.tenant.post("/suppressions", json={"email": emails[1]})
    conflict = (409, "address_suppressed_by_complaint", "#/force")
    path = f"/suppressions/{emails[0]}"
    assert refusal(callers.tenant.delete(path)) == conflict
    batch = "/suppressions/batch/remove"
    assert refusal(callers.tenant.post(batch, json={"emails": emails})) == conflict
    request = pb.DeleteSuppressionRequest(email=emails[0])
    with pytest.raises(grpc.RpcError) as refused:
        callers.rpc(callers.tenant, "DeleteSuppression", request)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert [callers.tenant.get(f"/suppressions/{one}").status_code for one in emails] == [200, 200]
    done = callers.tenant.post(batch, json={"emails": emails, "force": True}).json()
    assert len(done["data"]) == 2

    [entry] = callers.account.get("/audit", params={"resource": "suppression"}).json()["data"]
    assert (entry["action"], entry["tenant_id"]) == ("suppression.delete", callers.tenant_id)
    assert (entry["before"]["address"], entry["after"]) == (emails[0], None)
    key = callers.tenant.get("/api-keys").json()["data"][0]["id"]
    assert entry["actor"] == {"kind": "tenant", "id": key}


def test_an_address_is_shown_and_removed_with_its_unsubscribe(callers: Callers) -> None:
    path = "/suppressions/away@x.example"

    def add(**fields: object) -> Any:  # noqa: ANN401 - JSON
        given = {"email": "away@x.example", **fields}
        return callers.tenant.post("/suppressions", json=given).json()

    for origins in (("manual", "unsubscribe"), ("unsubscribe", "bounce")):
        added = [add(origin=one, expires_at=SOON) for one in origins]
        shown, left = sorted(added, key=lambda one: bool(one["origin"] == "unsubscribe"))
        assert callers.tenant.get(path).json() == shown
        assert callers.tenant.get(f"/suppressions/{left['id']}").json() == left
        request = pb.GetSuppressionRequest(email="away@x.example")
        found = callers.rpc(callers.tenant, "GetSuppression", request).suppression
        assert found.id == shown["id"]
        assert callers.tenant.delete(f"/suppressions/{left['id']}").json()["id"] == left["id"]
        assert callers.tenant.get(path).json() == shown
        left = add(origin="unsubscribe")
        assert callers.tenant.delete(path).json()["id"] == shown["id"]
        for one in (path, f"/suppressions/{left['id']}"):
            assert callers.tenant.get(one).status_code == 404


def test_an_account_suppresses_for_all_its_tenants(callers: Callers) -> None:
    path = "/suppressions/everywhere@reached.net"
    given = {"email": "everywhere@reached.net", "scope": "account", "note": "a court order"}
    one = callers.account.post("/suppressions", json=given).json()
    assert (one["tenant_id"], one["scope"]) == (None, "account")
    assert callers.account.post("/suppressions", json=given).json() == one
    named = {"X-Tenant-Id": callers.tenant_id}
    for http, headers in ((callers.tenant, {}), (callers.other, {}), (callers.account, named)):
        assert http.get(path, headers=headers).status_code == 404
        assert http.delete(path, headers=headers).status_code == 404
        assert one["id"] not in http.get("/suppressions", headers=headers).text
    assert callers.account.get(path).json() == one
    assert one["id"] in callers.account.get("/suppressions").text

    email = {"from": f"a@{DOMAIN}", "to": given["email"], "subject": "Hi", "text": "x"}
    sent = send(callers, **email)
    until(lambda: last_event(callers, sent) == "suppressed")
    assert callers.account.delete(path).status_code == 200
    found = callers.account.get("/audit", params={"resource": "suppression"}).json()["data"][:2]
    assert [one["action"] for one in found] == ["suppression.delete", "suppression.create"]


def send(callers: Callers, **email: str) -> str:
    sent = callers.tenant.post("/emails", json=email)
    assert sent.status_code == 202, sent.text
    return str(sent.json()["id"])


def last_event(callers: Callers, email_id: str) -> str:
    return str(callers.tenant.get(f"/emails/{email_id}").json()["last_event"])


def test_mail_to_a_list_that_was_left_is_suppressed(callers: Callers) -> None:
    gone = {"email": "left@reached.net", "list": "news", "origin": "unsubscribe"}
    assert callers.tenant.post("/suppressions", json=gone).status_code == 201
    email = {"from": f"a@{DOMAIN}", "to": gone["email"], "subject": "Hi", "text": "x"}
    sent = send(callers, **email, topic_id="news")
    until(lambda: last_event(callers, sent) == "suppressed")
    shown = callers.tenant.get(f"/emails/{sent}").json()
    assert (shown["list"], shown["stream"]) == ("news", "broadcast")
    events = callers.tenant.get(f"/emails/{sent}/events").json()["data"]
    [suppressed] = [one["data"] for one in events if one["type"] == "email.suppressed"]
    assert suppressed["suppressed"]["origin"] == "unsubscribe"
    assert suppressed["list"] == "news"


def test_the_list_is_filtered(callers: Callers) -> None:
    for one in (
        {"email": "a@filtered.example", "origin": "bounce"},
        {"email": "b@FILTERED.example", "list": "offers"},
        {"email": "c@bücher.example"},
    ):
        assert callers.tenant.post("/suppressions", json=one).status_code == 201

    def found(**filters: str) -> list[str]:
        listed = callers.tenant.get("/suppressions", params=filters)
        assert listed.status_code == 200, listed.text
        return [one["email"] for one in listed.json()["data"]]

    assert found(domain="Filtered.example") == ["b@filtered.example", "a@filtered.example"]
    assert found(domain="filtered.example", origin="bounce") == ["a@filtered.example"]
    assert found(domain="bücher.example") == ["c@xn--bcher-kva.example"]
    assert found(list="offers") == ["b@filtered.example"]
    assert found(since=SOON) == []
    request = pb.ListSuppressionsRequest(domain="filtered.example", list="offers")
    [one] = callers.rpc(callers.tenant, "ListSuppressions", request).suppressions
    assert (one.email, one.list) == ("b@filtered.example", "offers")
