"""Objects of an account, and the callers who have nothing to do with them, on a running engine."""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc
import httpx
import psycopg
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kernel import ids
from services.ingest.api.callers import AccessRule
from services.ingest.api.operations import OPERATIONS
from tests.support.accounts import add_account_key, add_brand, create_account
from tests.support.engine import Engine
from tests.support.sources import add_unused_source

WITHIN_S = 240.0
MISSING = "01890000-0000-7000-8000-000000000000"
SUPPRESSED = "gone@owner.example"
FORGOTTEN = "forgotten@owner.example"


@dataclass
class OwnedObjects:
    """The owner's objects, by the names of routes and requests. of_account: those of the whole
    account instead of the tenant."""

    http: httpx.Client
    tenant_id: str
    account_id: str = ""
    ids: dict[str, str] = field(default_factory=dict)
    of_account: dict[str, str] = field(default_factory=dict)

    @property
    def all_ids(self) -> set[str]:
        return {*self.ids.values(), *self.of_account.values()}

    def ids_of(self, names: Collection[str]) -> list[dict[str, str]]:
        """Of each object with these names."""
        own = {name: self.ids[name] for name in names}
        return [own, {**own, **self.of_account}] if {*names} & {*self.of_account} else [own]


class Caller(NamedTuple):
    """Somebody else. kind: as in the document. names_tenant: by X-Tenant-Id."""

    kind: str
    http: httpx.Client
    names_tenant: bool = True

    def lacks_tenant(self, access: AccessRule) -> bool:
        """Whether the operation needs a tenant, which this caller does not name."""
        return self.kind in access.names_tenant and not self.names_tenant

    def refuses(self, method: str, path: str) -> bool:
        return self.lacks_tenant(OPERATIONS[f"{method} {path}"].access)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Of its RPCs."""
        named = ("authorization", "x-tenant-id")
        return tuple((name, self.http.headers[name]) for name in named if name in self.http.headers)


def client(engine: Engine, key: str, **headers: str) -> httpx.Client:
    fields = {"Authorization": f"Bearer {key}", **headers}
    return httpx.Client(base_url=engine.url, headers=fields, timeout=120)


@pytest.fixture(scope="module")
def owner(engine: Engine) -> Iterator[OwnedObjects]:
    account = create_account(engine.environment, "owner.obm-sandbox.net", test=False)
    with client(engine, account.api_key) as http:
        owned = OwnedObjects(http, account.tenant_id, account.account_id)
        owned.ids |= {"tenant_id": account.tenant_id, "account_id": account.account_id}
        email = {
            "from": "a@owner.obm-sandbox.net", "to": "delivered@obm-sandbox.net",
            "subject": "Mine", "text": "x", "test": True,
        }  # fmt: skip
        owned.ids["email_id"] = http.post("/emails", json=email).json()["id"]
        hook = {"endpoint": "https://hooks.example.com/owner"}
        owned.ids["webhook_id"] = http.post("/webhooks", json=hook).json()["id"]
        tested = http.post(f"/webhooks/{owned.ids['webhook_id']}/test")
        owned.ids["event_id"] = tested.json()["id"]
        http.post("/suppressions", json={"email": SUPPRESSED})
        owned.ids |= {"email": SUPPRESSED, "id_or_email": SUPPRESSED}
        csv = {"Content-Type": "text/csv"}
        sent = http.post("/suppressions/imports", content=SUPPRESSED, headers=csv)
        owned.ids["import_id"] = sent.json()["id"]
        owned.ids["export_id"] = http.post("/exports", json={}).json()["id"]
        report = {"name": "Daily", "frequency": "daily"}
        owned.ids["report_id"] = http.post("/reports", json=report).json()["id"]
        owned.ids["log_id"] = wait_for_log(http)
        erased = http.delete(f"/recipients/{FORGOTTEN}")
        owned.ids["erasure_id"] = erased.json()["id"]
        owned.of_account = objects_of_account(engine, owned)
        owned.ids["key_id"] = http.get("/api-keys").json()["data"][0]["id"]
        owned.ids["domain_id"] = http.get("/domains").json()["data"][0]["id"]
        owned.ids["brand_id"] = add_brand(engine.environment, account.account_id)
        mailbox = {"address": "ann@owner.obm-sandbox.net"}
        owned.ids["mailbox_id"] = http.post("/mailboxes", json=mailbox).json()["id"]
        owned.ids["ip_id"] = add_unused_source(engine)
        owned.ids["campaign_id"] = add_campaign(engine, account.tenant_id)
        owned.ids["message_id"], owned.ids["engine_message_id"] = wait_for_capture(http)
        yield owned


def add_campaign(engine: Engine, tenant_id: str, assessed: bytes | None = None) -> str:
    """As shield stores one that has enough copies. Its id."""
    campaign_id = ids.uuid7_text()
    with psycopg.connect(engine.environment["SHIELD_SYSTEM_DATABASE_URL"]) as connection:
        connection.execute(
            "INSERT INTO shield.campaigns (campaign_id, tenant_id, fingerprint, assessed)"
            " VALUES (%s, %s, '', %s)",
            (campaign_id, tenant_id, assessed),
        )
    return campaign_id


def objects_of_account(engine: Engine, owned: OwnedObjects) -> dict[str, str]:
    with client(engine, add_account_key(engine.environment, owned.account_id)) as http:
        hook = {"endpoint": "https://hooks.example.com/all"}
        csv = {"Content-Type": "text/csv"}
        path = "/suppressions/imports?scope=account"
        return {
            "webhook_id": http.post("/webhooks", json=hook).json()["id"],
            "export_id": http.post("/exports", json={}).json()["id"],
            "report_id": http.post("/reports", json={"name": "Daily", "frequency": "daily"}).json()[
                "id"
            ],
            "import_id": http.post(path, content=SUPPRESSED, headers=csv).json()["id"],
            "erasure_id": http.delete(f"/recipients/{FORGOTTEN}").json()["id"],
        }


def wait_for_log(http: httpx.Client) -> str:
    deadline = time.monotonic() + WITHIN_S
    while not (found := http.get("/logs").json()["data"]):
        assert time.monotonic() < deadline, "nothing was logged"
        time.sleep(0.2)
    return str(found[-1]["id"])


def wait_for_capture(http: httpx.Client) -> tuple[str, str]:
    deadline = time.monotonic() + WITHIN_S
    while not (found := http.get("/sandbox/messages").json()["data"]):
        assert time.monotonic() < deadline, "the sandbox received nothing"
        time.sleep(0.2)
    return found[0]["id"], found[0]["message_id"]


@pytest.fixture(scope="module")
def other(engine: Engine) -> Iterator[OwnedObjects]:
    account = create_account(engine.environment, "other.obm-sandbox.net", test=False)
    with client(engine, account.api_key) as http:
        http.headers["X-Key"] = account.api_key
        yield OwnedObjects(http, account.tenant_id, account.account_id)


@pytest.fixture(scope="module", params=["tenant", "account", "account with a tenant"])
def stranger(
    request: pytest.FixtureRequest, engine: Engine, other: OwnedObjects
) -> Iterator[Caller]:
    """Each caller that may have something to do with the owner's kinds of objects."""
    if request.param == "tenant":
        yield Caller("tenant", other.http)
        return
    key = add_account_key(engine.environment, other.account_id)
    named = request.param != "account"
    headers = {"X-Tenant-Id": other.tenant_id} if named else {}
    with client(engine, key, **headers) as http:
        yield Caller("account", http, names_tenant=named)


def check_unchanged(owner: OwnedObjects) -> None:
    webhook = f"/webhooks/{owner.ids['webhook_id']}"
    for path in (
        f"/emails/{owner.ids['email_id']}", webhook, f"{webhook}/events/{owner.ids['event_id']}",
        f"/suppressions/{SUPPRESSED}", f"/mailboxes/{owner.ids['mailbox_id']}",
        f"/suppressions/imports/{owner.ids['import_id']}", f"/exports/{owner.ids['export_id']}",
        f"/reports/{owner.ids['report_id']}", f"/erasures/{owner.ids['erasure_id']}",
        f"/sandbox/messages/{owner.ids['message_id']}",
        f"/shield/campaigns/{owner.ids['campaign_id']}",
    ):  # fmt: skip
        assert owner.http.get(path).status_code == 200


async def call(
    address: str,
    service: ServiceDescriptor,
    method: MethodDescriptor,
    request: Message,
    metadata: tuple[tuple[str, str], ...],
) -> Message:
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=lambda one: one.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        response: Message = await call(request, metadata=metadata, timeout=120)
        return response
