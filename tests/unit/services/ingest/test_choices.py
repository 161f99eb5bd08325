"""A value that is not among those of a field is refused with the values that are."""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from msgspec import Struct
from msgspec.json import Decoder

from contracts.ingest.v1 import suppression_service_pb2 as pb
from contracts.ingest.v1.directory_pb2 import ApiKey, ApiKeyKind
from services.ingest.api.grpc.base import given_fields
from services.ingest.api.openapi import operations
from services.ingest.api.suppressions import AddSuppressionRequest
from services.ingest.domain.choices import choices_at
from services.ingest.domain.email import decode_email
from services.ingest.domain.pointers import decode_body
from services.ingest.domain.problem import Problem
from tests.support.rest_api import ID, call_api

DOCUMENT = call_api("GET", "/openapi.json").json()
KEY = ApiKey(key_id=ID, kind=ApiKeyKind.API_KEY_KIND_OPERATOR)
UNKNOWN = "unheard-of"
OF_EMAILS = {"sendEmail", "sendEmailBatch", "scoreEmail"}  # which is read without a route


def resolved(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Without $ref and null."""
    if "$ref" in schema:
        return resolved(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    kinds = [resolved(one) for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    return kinds[0] if kinds and "properties" not in schema else schema


def with_unknown(schema: Any, depth: int = 4) -> Iterator[tuple[str, Any, list[str]]]:  # noqa: ANN401 - JSON
    """Pointers into what the schema describes, a value with an unknown choice there, and the
    known ones."""
    schema = resolved(schema)
    if "enum" in schema:
        yield "", UNKNOWN, schema["enum"]
    for name, inner in schema.get("properties", {}).items() if depth else ():
        for pointer, value, known in with_unknown(inner, depth - 1):
            yield f"/{name}{pointer}", {name: value}, known
    if "items" in schema and depth:
        for pointer, value, known in with_unknown(schema["items"], depth - 1):
            yield f"/0{pointer}", [value], known


def wrong_bodies() -> Iterator[Any]:
    for method, path, operation in operations(DOCUMENT):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if operation["operationId"] in OF_EMAILS:
            continue
        for pointer, value, known in with_unknown(body["schema"]) if body else ():
            whole = {**body["example"], **value} if isinstance(value, dict) else value
            name, of = f"{method} {path} {pointer}", re.sub(r"{\w+}", ID, path)
            yield pytest.param(method, of, whole, f"#{pointer}", known, id=name)


def wrong_queries() -> Iterator[Any]:
    for method, path, operation in operations(DOCUMENT):
        for one in operation.get("parameters", ()):
            known = resolved(one["schema"]).get("enum")
            if (
                one["in"] == "query" and known and operation["operationId"] != "listEmails"
            ):  # events knows them
                yield pytest.param(method, path, one["name"], known, id=f"{path} {one['name']}")


@pytest.mark.parametrize(("method", "path", "body", "pointer", "known"), list(wrong_bodies()))
def test_an_unknown_choice_in_a_body_is_refused_with_the_known_ones(
    method: str, path: str, body: object, pointer: str, known: list[str]
) -> None:
    headers = {"Content-Type": "application/json"}
    content = json.dumps(body).encode()
    refused = call_api(method, path, headers, content=content, key=KEY)
    assert refused.status_code == 422, refused.text
    [fault] = refused.json()["errors"]
    assert fault["pointer"] == pointer
    assert UNKNOWN in fault["detail"]
    for choice in known:
        assert choice in fault["detail"]


@pytest.mark.parametrize(("method", "path", "name", "known"), list(wrong_queries()))
def test_an_unknown_choice_in_a_query_is_refused_with_the_known_ones(
    method: str, path: str, name: str, known: list[str]
) -> None:
    refused = call_api(method, f"{path}?{name}={UNKNOWN}", key=KEY)
    assert refused.status_code == 422, refused.text
    assert all(choice in refused.json()["detail"] for choice in known)


@pytest.mark.parametrize("name", ["stream", "tls", "tracking_mode"])
def test_an_unknown_choice_in_an_email_is_refused_with_the_known_ones(name: str) -> None:
    email = {"from": "a@x.net", "to": "b@y.net", "subject": "s", name: UNKNOWN}
    schema = DOCUMENT["components"]["schemas"]["SendEmailRequest"]["properties"][name]
    with pytest.raises(Problem) as refused:
        decode_body(decode_email, json.dumps(email).encode())
    [fault] = refused.value.faults
    assert fault.pointer == f"#/{name}"
    assert all(choice in fault.detail for choice in resolved(schema)["enum"])


def test_an_unknown_choice_in_an_rpc_is_refused_with_the_known_ones() -> None:
    request = pb.AddSuppressionRequest(email="ann@x.example", origin=UNKNOWN)
    with pytest.raises(Problem) as refused:
        given_fields(request, AddSuppressionRequest)
    assert refused.value.detail == (
        f"origin: Invalid value '{UNKNOWN}'. Use one of bounce, complaint, manual, unsubscribe"
    )


class Inner(Struct, rename={"kind": "type"}):
    kind: Literal["b", "a"] | None = None
    by_name: dict[str, Literal[1, 2]] = {}


class Outer(Struct):
    many: list[Inner] | Inner


def test_choices_are_found_by_name_in_lists_maps_and_unions() -> None:
    assert choices_at(Outer, ["many", "0", "type"]) == ["a", "b"]
    assert choices_at(Outer, ["many", "by_name", "x"]) == ["1", "2"]
    assert choices_at(Outer, ["many"]) == choices_at(Outer, ["none", "0"]) == []
    assert choices_at(None, []) == []


def decode_alone(body: bytes) -> object:
    return Decoder(list[Inner]).decode(body)


def test_a_decoder_of_another_kind_still_refuses() -> None:
    decode = Decoder(list[Inner]).decode
    with pytest.raises(Problem, match="Use one of a, b"):
        decode_body(decode, b'[{"type": "c"}]')
    with pytest.raises(Problem, match="Invalid enum value"):
        decode_body(decode_alone, b'[{"type": "c"}]')
