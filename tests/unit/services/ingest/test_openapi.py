"""The OpenAPI document is complete enough to generate a typed client."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from fastapi.routing import APIRoute

from services.events.domain.catalog import EVENT_TYPES
from services.events.domain.log_event import StatusRank
from services.ingest.api import response_schemas
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.openapi import operations
from services.ingest.api.operations import OPERATIONS
from services.ingest.api.response_schemas import EventType, Status
from services.ingest.api.rest import RestDependencies, create_rest_app
from services.ingest.api.rest_base import RestAccess
from services.ingest.domain.email import RequestModel
from services.ingest.domain.patterns import explanation_of
from tests.support.absent_services import resources_alone
from tests.support.rest_api import brands, call_api

DOCUMENT = call_api("GET", "/openapi.json").json()
NO_OBJECTS = {"message/rfc822", "text/csv", "text/event-stream", "application/x-ndjson"}
EVERY = [(f"{method} {path}", one) for method, path, one in operations(DOCUMENT)]


def test_every_route_is_described() -> None:
    assert {name for name, _ in EVERY} == OPERATIONS.keys()
    ids = [one["operationId"] for _, one in EVERY]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(("name", "one"), EVERY, ids=[name for name, _ in EVERY])
def test_an_operation_describes_its_response(name: str, one: dict[str, Any]) -> None:
    [good] = [status for status in one["responses"] if status[0] == "2"]
    for status, response in one["responses"].items():
        for media, content in response["content"].items():
            schema = resolved(content["schema"])
            if media not in NO_OBJECTS:
                assert schema["type"] == "object", (name, status)
                assert schema["properties"]
    assert "X-Request-Id" in one["responses"][good]["headers"]
    assert {"4XX", "5XX"} <= one["responses"].keys()


@pytest.mark.parametrize(
    "name", [name for name, known in OPERATIONS.items() if known.example is not None]
)
def test_an_example_matches_its_schema(name: str) -> None:
    one = dict(EVERY)[name]
    content = one["requestBody"]["content"]["application/json"]
    schema = {**content["schema"], "components": DOCUMENT["components"]}
    jsonschema_rs.validate(schema, content["example"])


@pytest.mark.parametrize("name", ["post /v1/suppressions", "post /v1/suppressions/batch/add"])
def test_a_suppression_of_a_list_names_it(name: str) -> None:
    content = dict(EVERY)[name]["requestBody"]["content"]["application/json"]
    schema = {**content["schema"], "components": DOCUMENT["components"]}
    validator = jsonschema_rs.validator_for(schema)
    unnamed = {key: value for key, value in content["example"].items() if key != "list"}
    assert validator.is_valid({**unnamed, "scope": "list", "list": "news"})
    assert not validator.is_valid({**unnamed, "scope": "list"})
    assert not validator.is_valid({**unnamed, "scope": "list", "list": None})
    for scope in ({}, {"scope": "tenant"}, {"scope": "account"}):
        assert validator.is_valid({**unnamed, **scope})
        assert validator.is_valid({**unnamed, **scope, "list": "news"})


def test_the_routes_of_all_resources_are_one_list() -> None:
    """Otherwise FastAPI makes each twice, and every request looks into one router after another."""
    nothing: Any = None
    account_brands = BrandResolver(brands(), lambda _: None)
    resources = resources_alone(account_brands, clients=None, directory=nothing, domains=nothing)
    app = create_rest_app(RestDependencies(RestAccess(nothing), nothing, resources))
    assert {route.path for route in app.routes if isinstance(route, APIRoute)} >= {
        name.split()[1] for name in OPERATIONS
    }


def test_both_send_routes_accept_an_idempotency_key() -> None:
    for name in ("post /v1/emails", "post /v1/emails/batch"):
        named = [(p["in"], p["name"]) for p in dict(EVERY)[name]["parameters"]]
        assert ("header", "Idempotency-Key") in named


def test_no_parameter_has_an_empty_default() -> None:
    for _, one in EVERY:
        assert [p for p in one.get("parameters", []) if p["schema"].get("default") == ""] == []


def test_enumerations_match_those_of_other_services() -> None:
    assert set(EventType.__args__) == EVENT_TYPES  # type: ignore[attr-defined]
    ranks = {rank.name.lower() for rank in StatusRank} - {"unknown", "delayed"} | {
        "delivery_delayed"
    }
    assert set(Status.__args__) == ranks  # type: ignore[attr-defined]


def test_an_error_has_the_fields_of_its_schema() -> None:
    problem = call_api("GET", "/v1/nothing").json()
    assert problem.keys() == set(response_schemas.Problem.__struct_fields__)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = DOCUMENT["components"]["schemas"][name] if name else schema
    return found


def bodies(model: type[RequestModel] = RequestModel) -> Iterator[type[RequestModel]]:
    for one in model.__subclasses__():
        yield one
        yield from bodies(one)


def patterns(node: object) -> Iterator[str]:
    """Of a type as msgspec describes it."""
    if isinstance(node, msgspec.inspect.StrType) and node.pattern:
        yield node.pattern
    elif isinstance(node, msgspec.Struct):
        for name in node.__struct_fields__:
            yield from patterns(getattr(node, name))
    elif isinstance(node, tuple):
        for one in node:
            yield from patterns(one)


def test_what_a_field_is_when_it_is_left_out_is_valid_too() -> None:
    """An empty host of a brand, for one."""
    components = DOCUMENT["components"]
    checked: dict[str, Any] = {"validate_formats": True, "formats": {"brand-host": bool}}
    invalid = [
        f"{model.__name__}.{field.name}"
        for model in bodies()
        for field in msgspec.structs.fields(model)
        if isinstance(field.default, str | int | float | bool | None)
        if (described := components["schemas"].get(model.__name__))
        if field.encode_name not in described.get("required", ())
        if (schema := described["properties"].get(field.encode_name))
        if not jsonschema_rs.is_valid(
            {**schema, "components": components}, field.default, **checked
        )
    ]
    assert invalid == []


def test_what_breaks_a_pattern_is_explained_in_words() -> None:
    """Nobody who mistypes a host name should have to read a regular expression."""
    found = {text for one in bodies() for text in patterns(msgspec.inspect.type_info(one))}
    assert len(found) >= 10
    unexplained = {
        one for one in found if not explanation_of(f"Expected `str` matching regex {one!r}")
    }
    assert unexplained == set()
