"""Tenants and accounts are isolated: on every REST route and internal RPC, for every caller that it
admits, an id of another one is not found, and no list has it.

The routes come from the OpenAPI document, the RPCs from the services' descriptors: a new one with
an unknown kind of id fails the test until it is added here.
"""

import asyncio
import pkgutil
import re
from collections.abc import Container, Iterator, Mapping
from functools import partial
from importlib import import_module
from itertools import chain
from typing import Any

import grpc
import httpx
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import contracts
from kernel.rpc import TOKEN_HEADER
from tests.support.engine import Engine
from tests.support.operations import example_of, operations_of, path_parameters
from tests.support.strangers import (
    MISSING,
    SUPPRESSED,
    Caller,
    OwnedObjects,
    call,
    check_unchanged,
    other,
    owner,
    stranger,
)

__all__ = ["other", "owner", "stranger"]

REFUSALS = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}
CURSORS = ("after", "before")
OWN_LISTS = {
    f"/v1/{own}" for own in ("domains", "api-keys", "audit", "tenants", "accounts", "ips", "logs")
}
NAMES_ONE = re.compile(r"(^|_)ids?$")
OWN_IDS_OF_REQUESTS = {
    "tenant_id", "account_id", "domain_id", "email_id", "message_ids", "id", "ids",
    "event_id",
    "tenant_ids",  # of a webhook: compared with the account of each event
    "domain_ids",  # likewise, with the domain: it receives no events of another owner
}  # fmt: skip


def internal_services() -> Iterator[tuple[str, ServiceDescriptor]]:
    """Every internal service of the contracts, with the setting of its address."""
    for module in pkgutil.walk_packages(contracts.__path__, "contracts."):
        if module.name.endswith("_service_pb2"):
            owner = module.name.split(".")[1].upper()
            for service in import_module(module.name).DESCRIPTOR.services_by_name.values():
                if owner != "INGEST":  # its services are the public API
                    yield f"{owner}_RPC_LISTEN", service


def test_every_route_treats_a_foreign_id_as_missing(owner: OwnedObjects, stranger: Caller) -> None:
    checked = 0
    for method, path, operation in operations_of(stranger.kind, stranger.http):
        if not (names := path_parameters(operation)) or names == ["address"]:
            continue  # everybody may erase any address, of their own mail
        assert set(names) <= owner.ids.keys(), f"whose id is {names} of {path}?"
        call = partial(request_with, stranger.http, method, path, body=example_of(operation))
        if stranger.refuses(method, path):
            assert call(ids=owner.ids).status_code == 422
            continue
        missing = call(
            ids={name: "none@owner.example" if "email" in name and "_id" not in name else MISSING
                 for name in names}
        )  # fmt: skip
        for ids in owner.ids_of(names):
            foreign = call(ids=ids)
            assert foreign.status_code == missing.status_code == 404, f"{method} {path}"
            assert without_names(foreign.json()) == without_names(missing.json())
            checked += 1
    assert checked >= 28
    check_unchanged(owner)


def test_no_list_shows_what_belongs_to_another(owner: OwnedObjects, stranger: Caller) -> None:
    checked = 0
    for method, path, operation in operations_of(stranger.kind, stranger.http):
        if method != "get" or "{" in path or stranger.refuses(method, path):
            continue
        if path == "/v1/logs":  # it has the ids that the stranger has asked for
            continue
        has_limit = any(one["name"] == "limit" for one in operation.get("parameters", ()))
        params = {"limit": 100} if has_limit else {}
        listed = stranger.http.get(stranger.http.base_url.join(path), params=params)
        assert listed.status_code == 200, f"{path} {listed.text}"
        for own in (owner.tenant_id, *owner.all_ids):
            assert own not in listed.text, path
        checked += 1
    assert checked >= 6


def test_a_foreign_cursor_reveals_nothing(owner: OwnedObjects, stranger: Caller) -> None:
    checked = 0
    for method, path, operation in operations_of(stranger.kind, stranger.http):
        parameters = {one["name"] for one in operation.get("parameters", ())}
        if method != "get" or "{" in path or not parameters & set(CURSORS):
            continue
        if stranger.refuses(method, path):
            continue
        own_things = path in OWN_LISTS  # which the stranger has, too
        for cursor in sorted(parameters & set(CURSORS)):
            for own in (owner.ids["email_id"], owner.ids["webhook_id"], owner.ids["message_id"]):
                url = stranger.http.base_url.join(path)
                response = stranger.http.get(url, params={cursor: own})
                assert response.status_code == 200, f"{path} {response.text}"
                if not own_things:
                    assert response.json()["data"] == [], path
                checked += 1
    assert checked >= 18


def request_with(
    http: httpx.Client, method: str, path: str, *, ids: dict[str, str], body: object
) -> httpx.Response:
    url = http.base_url.join(path.format(**ids))
    return http.request(method, url, json=body)


def without_names(response: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in response.items() if name not in {"instance", "request_id"}}


def test_no_internal_rpc_reads_or_changes_another_tenants_objects(
    engine: Engine, owner: OwnedObjects, other: OwnedObjects
) -> None:
    metadata = ((TOKEN_HEADER, engine.environment["OBM_RPC_TOKEN"]),)
    checked = 0
    for address_name, service in internal_services():
        for method in service.methods:
            # A message context carries its own tenant: only ingest builds them, from rows of the
            # caller.
            fields = method.input_type.fields_by_name
            if "tenant_id" not in fields or "contexts" in fields or method.server_streaming:
                continue  # streams have their own test
            missing = dict.fromkeys(owner.ids, MISSING)
            for request, unknown in zip(
                chain(
                    requests(method, owner.ids, other),
                    requests(method, {**owner.ids, **owner.of_account}, other),
                ),
                chain(requests(method, missing, other), requests(method, missing, other)),
                strict=True,
            ):
                address = engine.environment[address_name]
                foreign = asyncio.run(response_text(address, service, method, request, metadata))
                none = asyncio.run(response_text(address, service, method, unknown, metadata))
                for own in owner.all_ids:  # a response may repeat the request
                    if own in str(request):
                        foreign = foreign.replace(own, MISSING)
                assert foreign == none, method.name
                for secret in (owner.tenant_id, *owner.all_ids):
                    assert secret not in foreign, f"{method.name} shows {secret}"
                checked += 1
    assert checked >= 12
    check_unchanged(owner)


def reports_of(ids: Mapping[str, str], fields: Container[str]) -> dict[str, str]:
    """Of a domain, if the request is for them."""
    day = "2026-01-01"
    given = {"domain_id": ids["domain_id"], "kind": "dmarc", "since": day, "until": day}
    return given if "domain_id" in fields else {}


def requests(
    method: MethodDescriptor, ids: Mapping[str, str], other: OwnedObjects
) -> Iterator[Message]:
    """Requests in the name of the other tenant, with the owner's ids wherever they fit."""
    kinds = GetMessageClass(method.input_type)
    fields = method.input_type.fields_by_name
    unknown = {name for name in fields if NAMES_ONE.search(name)} - OWN_IDS_OF_REQUESTS
    assert not unknown, f"whose id is {unknown} of {method.name}?"
    given: dict[str, Any] = {"tenant_id": other.tenant_id, **reports_of(ids, fields)}
    if "message_ids" in fields:
        given["message_ids"] = [ids["engine_message_id"]]
    given |= {name: ids[name] for name in ("email_id", "event_id") if name in fields}
    if "limit" in fields:
        given["limit"] = 100
    if "address" in fields:
        given["address"] = SUPPRESSED
    if "addresses" in fields and method.name.startswith("Remove"):
        given["addresses"] = [ids["email"]]
    for cursor in sorted(set(CURSORS) & set(fields)):
        one = {"id": ids["webhook_id"]} if "id" in fields else {}
        yield kinds(**given, **one, **{cursor: ids["webhook_id"]})
    if "id" not in fields:
        yield kinds(**given)
        return
    for name in ("webhook_id", "message_id", "campaign_id"):
        yield kinds(**given, id=ids[name])


async def response_text(
    address: str,
    service: ServiceDescriptor,
    method: MethodDescriptor,
    request: Message,
    metadata: tuple[tuple[str, str], ...],
) -> str:
    """The response as text without times of day, or the refusal."""
    try:
        text = str(await call(address, service, method, request, metadata))
        return re.sub(r"T\d\d:\d\d:[\d.]+", "T…", text)
    except grpc.aio.AioRpcError as error:
        if error.code() not in REFUSALS:
            raise
        return f"{error.code()} {error.details()}"
