"""Every operation of the OpenAPI document refuses every caller that it does not declare, before it
does anything: the services behind it do not exist here."""

from functools import cache
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest

from kernel import auth
from services.ingest.api.openapi import operations
from services.ingest.api.operations import OPERATIONS as OPERATIONS_BY_ROUTE
from tests.support.known_keys import ACCESS, KEYS, KINDS, OTHER, SCOPES
from tests.support.rest_api import application_with, call_api

DOCUMENT = call_api("GET", "/openapi.json").json()
EVERY = [(method, path, one) for method, path, one in operations(DOCUMENT)]
OPERATIONS = [pytest.param(*one, id=f"{one[0]} {one[1]}") for one in EVERY]


@cache
def client() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(cast(Any, application_with(ACCESS)))
    return httpx.AsyncClient(transport=transport, base_url="http://x")


async def call(method: str, path: str, key: str, **headers: str) -> httpx.Response:
    fields = {"Authorization": f"Bearer {key}"} if key else {}
    url = path.replace("{", "").replace("}", "")
    return await client().request(method, url, headers={**fields, **headers})


def declared(one: dict[str, Any]) -> dict[str, str]:
    """The kinds of callers that an operation admits, with the scope that each needs."""
    return {
        name.removesuffix("Key"): scope
        for requirement in one["security"]
        for name, [scope] in requirement.items()
    }


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["name"]


@pytest.mark.parametrize(("method", "path", "one"), OPERATIONS)
async def test_other_kinds_of_callers_are_refused(
    method: str, path: str, one: dict[str, Any]
) -> None:
    assert declared(one)
    for kind in KINDS.keys() - declared(one).keys():
        response = await call(method, path, KEYS.secrets[kind, "full_access"])
        assert refusal(response) == (403, "restricted_api_key"), kind


@pytest.mark.parametrize(("method", "path", "one"), OPERATIONS)
async def test_nobody_passes_without_a_key_or_its_scope(
    method: str, path: str, one: dict[str, Any]
) -> None:
    assert refusal(await call(method, path, "")) == (401, "missing_api_key")
    assert refusal(await call(method, path, auth.generate_key(test=False, brand="obm"))) == (
        403,
        "invalid_api_key",
    )
    for kind, needed in declared(one).items():
        for scope in {*SCOPES} - {needed, "full_access"}:
            response = await call(method, path, KEYS.secrets[kind, scope])
            assert refusal(response) == (401, "restricted_api_key"), (kind, scope)


@pytest.mark.parametrize(("method", "path", "one"), OPERATIONS)
async def test_the_tenant_of_another_account_is_like_one_that_does_not_exist(
    method: str, path: str, one: dict[str, Any]
) -> None:
    names = {parameter["name"] for parameter in one.get("parameters", [])}
    if "account" not in declared(one) or "X-Tenant-Id" not in names:
        return
    key = KEYS.secrets["account", "full_access"]
    problems = [
        await call(method, path, key, **{"X-Tenant-Id": tenant})
        for tenant in (OTHER, str(uuid4()), "x")
    ]
    assert {refusal(one) for one in problems} == {(404, "not_found")}
    bodies = [{**one.json(), "request_id": ""} for one in problems]
    assert bodies[0] == bodies[1] == bodies[2]


async def test_a_key_has_to_name_the_tenant_of_an_operation_on_one() -> None:
    for method, path, one in EVERY:
        for kind in OPERATIONS_BY_ROUTE[f"{method} {path}"].access.names_tenant:
            assert kind in declared(one)
            response = await call(method, path, KEYS.secrets[kind, "full_access"])
            assert refusal(response) == (422, "missing_required_field"), path
