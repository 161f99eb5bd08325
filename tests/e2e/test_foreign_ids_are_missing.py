"""Nothing of a tenant reaches another: on every REST route and RPC, a foreign id is a missing one.

The routes come from the OpenAPI document, the RPCs from the services' descriptors: a new one that
takes an id of a kind that is not known here fails until it is.
"""

import asyncio
import pkgutil
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import contracts
from contracts.ingest.v1 import email_service_pb2
from kernel.rpc import TOKEN_HEADER
from tests.support.accounts import create_account
from tests.support.engine import Engine

WITHIN_S = 60.0
MISSING = "01890000-0000-7000-8000-000000000000"
SUPPRESSED = "gone@owner.example"
REFUSALS = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}
PUBLIC = email_service_pb2.DESCRIPTOR.services_by_name["EmailService"]
CURSORS = ("after", "before")
NAMES_ONE = re.compile(r"(^|_)ids?$")
ASKED_FOR = {"tenant_id", "email_id", "message_ids", "id"}


def internal_services() -> Iterator[tuple[str, ServiceDescriptor]]:
    """Every service of the contracts but the public one, with the setting of its address."""
    for module in pkgutil.walk_packages(contracts.__path__, "contracts."):
        if module.name.endswith("_service_pb2"):
            owner = module.name.split(".")[1].upper()
            for service in import_module(module.name).DESCRIPTOR.services_by_name.values():
                if service.full_name != PUBLIC.full_name:
                    yield f"{owner}_RPC_LISTEN", service


@dataclass
class Owned:
    """What the owner has, by the names that routes and requests give it."""

    http: httpx.Client
    tenant_id: str
    ids: dict[str, str] = field(default_factory=dict)


def client(engine: Engine, key: str) -> httpx.Client:
    return httpx.Client(base_url=engine.url, headers={"Authorization": f"Bearer {key}"}, timeout=10)


@pytest.fixture(scope="module")
def owner(engine: Engine) -> Iterator[Owned]:
    customer = create_account(engine.environment, "owner.obm-sandbox.net", test=False)
    with client(engine, customer.api_key) as http:
        owned = Owned(http, customer.tenant_id)
        email = {
            "from": "a@owner.obm-sandbox.net", "to": "delivered@obm-sandbox.net",
            "subject": "Mine", "text": "x", "test": True,
        }  # fmt: skip
        owned.ids["email_id"] = http.post("/emails", json=email).json()["id"]
        hook = {"endpoint": "https://hooks.example.com/owner"}
        owned.ids["webhook_id"] = http.post("/webhooks", json=hook).json()["id"]
        http.post("/suppressions", json={"email": SUPPRESSED})
        owned.ids |= {"email": SUPPRESSED, "id_or_email": SUPPRESSED}
        owned.ids["key_id"] = http.get("/api-keys").json()["data"][0]["id"]
        owned.ids["domain_id"] = http.get("/domains").json()["data"][0]["id"]
        captured = wait_for_capture(http)
        owned.ids["message_id"], owned.ids["engine_message_id"] = captured
        yield owned


def wait_for_capture(http: httpx.Client) -> tuple[str, str]:
    deadline = time.monotonic() + WITHIN_S
    while not (found := http.get("/sandbox/messages").json()["data"]):
        assert time.monotonic() < deadline, "the sandbox received nothing"
        time.sleep(0.2)
    return found[0]["id"], found[0]["message_id"]


@pytest.fixture(scope="module")
def stranger(engine: Engine) -> Iterator[Owned]:
    customer = create_account(engine.environment, "stranger.obm-sandbox.net", test=False)
    with client(engine, customer.api_key) as http:
        http.headers["X-Key"] = customer.api_key
        yield Owned(http, customer.tenant_id)


def test_on_every_route_a_foreign_id_gets_the_answer_of_a_missing_one(
    owner: Owned, stranger: Owned
) -> None:
    document = stranger.http.get(str(stranger.http.base_url.join("/openapi.json"))).json()
    asked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            names = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"]
            if not names:
                continue
            assert set(names) <= owner.ids.keys(), f"whose id is {names} of {path}?"
            foreign = ask(stranger.http, method, path, {name: owner.ids[name] for name in names})
            missing = ask(
                stranger.http, method, path,
                {name: "none@owner.example" if "email" in name and "_id" not in name else MISSING
                 for name in names},
            )  # fmt: skip
            assert foreign.status_code == missing.status_code == 404, f"{method} {path}"
            assert without_names(foreign.json()) == without_names(missing.json())
            asked += 1
    assert asked >= 15
    unharmed(owner)


def test_behind_a_foreign_cursor_a_list_is_as_empty_as_ever(owner: Owned, stranger: Owned) -> None:
    document = stranger.http.get(str(stranger.http.base_url.join("/openapi.json"))).json()
    asked = 0
    for path, operations in document["paths"].items():
        known = {one["name"] for one in operations.get("get", {}).get("parameters", ())}
        if "{" in path or not known & set(CURSORS):
            continue
        own_things = path in {"/v1/domains", "/v1/api-keys"}  # of the stranger
        for cursor in sorted(known & set(CURSORS)):
            for own in (owner.ids["email_id"], owner.ids["webhook_id"], owner.ids["message_id"]):
                url = stranger.http.base_url.join(path)
                said = stranger.http.get(url, params={cursor: own})
                assert said.status_code == 200, f"{path} {said.text}"
                if not own_things:
                    assert said.json()["data"] == [], path
                asked += 1
    assert asked >= 20


def ask(http: httpx.Client, method: str, path: str, ids: dict[str, str]) -> httpx.Response:
    body = {"scheduled_at": "in 1 hour"} if method == "patch" else None
    url = http.base_url.join(path.format(**ids))
    return http.request(method, url, json=body)


def without_names(said: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in said.items() if name not in {"instance", "request_id"}}


def unharmed(owner: Owned) -> None:
    for path in (
        f"/emails/{owner.ids['email_id']}", f"/webhooks/{owner.ids['webhook_id']}",
        f"/suppressions/{SUPPRESSED}", f"/sandbox/messages/{owner.ids['message_id']}",
    ):  # fmt: skip
        assert owner.http.get(path).status_code == 200


def test_on_every_public_rpc_a_foreign_id_is_not_found(
    engine: Engine, owner: Owned, stranger: Owned
) -> None:
    key = stranger.http.headers["X-Key"]
    metadata = (("authorization", f"Bearer {key}"),)
    asked = 0
    for method in PUBLIC.methods:
        if "id" not in method.input_type.fields_by_name:
            continue
        request: Any = GetMessageClass(method.input_type)(id=owner.ids["email_id"])
        if "scheduled_at" in method.input_type.fields_by_name:
            request.scheduled_at.GetCurrentTime()
        address = engine.environment["INGEST_GRPC_LISTEN"]
        with pytest.raises(grpc.RpcError) as refused:
            asyncio.run(call(address, PUBLIC, method, request, metadata))
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND, method.name
        asked += 1
    assert asked >= 3


def test_no_internal_rpc_shows_or_changes_what_is_another_tenants(
    engine: Engine, owner: Owned, stranger: Owned
) -> None:
    metadata = ((TOKEN_HEADER, engine.environment["OBM_RPC_TOKEN"]),)
    asked = 0
    for address_name, service in internal_services():
        for method in service.methods:
            # Envelopes carry their own tenant: only ingest makes them, from rows of the caller.
            fields = method.input_type.fields_by_name
            if "tenant_id" not in fields or "envelopes" in fields:
                continue
            missing = dict.fromkeys(owner.ids, MISSING)
            for request, other in zip(
                requests(method, owner.ids, stranger),
                requests(method, missing, stranger),
                strict=True,
            ):
                address = engine.environment[address_name]
                foreign = asyncio.run(said_by(address, service, method, request, metadata))
                none = asyncio.run(said_by(address, service, method, other, metadata))
                for own in owner.ids.values():  # what was asked for may be named in the answer
                    if own in str(request):
                        foreign = foreign.replace(own, MISSING)
                assert foreign == none, method.name
                for secret in (owner.tenant_id, *owner.ids.values()):
                    assert secret not in foreign, f"{method.name} shows {secret}"
                asked += 1
    assert asked >= 12
    unharmed(owner)


def requests(
    method: MethodDescriptor, ids: Mapping[str, str], stranger: Owned
) -> Iterator[Message]:
    """The request in the stranger's name, with these ids wherever one fits."""
    kinds = GetMessageClass(method.input_type)
    fields = method.input_type.fields_by_name
    unknown = {name for name in fields if NAMES_ONE.search(name)} - ASKED_FOR
    assert not unknown, f"whose id is {unknown} of {method.name}?"
    given: dict[str, Any] = {"tenant_id": stranger.tenant_id}
    if "message_ids" in fields:
        given["message_ids"] = [ids["engine_message_id"]]
    if "email_id" in fields:
        given["email_id"] = ids["email_id"]
    if "limit" in fields:
        given["limit"] = 100
    if "addresses" in fields and method.name.startswith("Remove"):
        given["addresses"] = [ids["email"]]
    for cursor in sorted(set(CURSORS) & set(fields)):
        one = {"id": ids["webhook_id"]} if "id" in fields else {}
        yield kinds(**given, **one, **{cursor: ids["webhook_id"]})
    if "id" not in fields:
        yield kinds(**given)
        return
    for name in ("webhook_id", "message_id"):
        yield kinds(**given, id=ids[name])


async def said_by(
    address: str,
    service: ServiceDescriptor,
    method: MethodDescriptor,
    request: Message,
    metadata: tuple[tuple[str, str], ...],
) -> str:
    """The answer as text, or the refusal."""
    try:
        return str(await call(address, service, method, request, metadata))
    except grpc.aio.AioRpcError as error:
        if error.code() not in REFUSALS:
            raise
        return f"{error.code()} {error.details()}"


async def call(
    address: str,
    service: ServiceDescriptor,
    method: MethodDescriptor,
    request: Message,
    metadata: tuple[tuple[str, str], ...],
) -> Message:
    async with grpc.aio.insecure_channel(address) as channel:
        ask_it: Any = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=lambda one: one.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        answer: Message = await ask_it(request, metadata=metadata, timeout=10)
        return answer
