"""The RPCs take and return the fields of the REST operations of their names."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.ingest.api.openapi import operations
from tests.support.known_keys import ACCESS
from tests.support.public_rpcs import Rpc, rpcs, services_with
from tests.support.rest_api import call_api

DOCUMENT = call_api("GET", "/openapi.json").json()
OPERATIONS = {one["operationId"]: one for _, _, one in operations(DOCUMENT)}
PATHS = {one["operationId"]: path for _, path, one in operations(DOCUMENT)}
OTHERS = {  # whose messages are not the JSON of REST
    "SendEmail", "SendEmailBatch", "GetEmail", "ListEmails", "UpdateEmail", "CancelEmail",
    "ScoreEmail", "CreateMailboxes", "CreateSuppressionImport", "ExportSuppressions",
    "DownloadExport",
    "StreamEvents",
}  # fmt: skip
RPCS = [
    pytest.param(one, id=one.method.name)
    for one in rpcs(services_with(ACCESS))
    if one.method.name not in OTHERS
]
WITH_MAPS = {"GetEmailMetrics"}  # responses whose keys are names of metrics and dimensions
PAGING = {"limit": "page_size", "after": "page_token"}
ONLY_REST = {
    "before",  # AIP-158: pages are read forwards
    "region",  # sent by clients of Resend, and ignored
    "webhook_id",  # likewise
}


def operation_of(rpc: Rpc) -> dict[str, Any]:
    return OPERATIONS[rpc.method.name[0].lower() + rpc.method.name[1:]]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without $ref, anyOf null and arrays."""
    if "$ref" in schema:
        return resolved(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema and "properties" not in schema:
        return resolved(next(one for one in schema["anyOf"] if one.get("type") != "null"))
    return resolved(schema["items"]) if schema.get("type") == "array" else schema


def content(described: dict[str, Any]) -> dict[str, Any]:
    return resolved(described["content"]["application/json"]["schema"])


def message_of(field: FieldDescriptor) -> Descriptor | None:
    message: Descriptor | None = field.message_type
    if message is None or message.full_name.startswith("google."):
        return None
    return None if message.GetOptions().map_entry else message


def assert_same(message: Descriptor, schema: dict[str, Any]) -> None:
    properties = {name: resolved(one) for name, one in schema["properties"].items()}
    properties.pop("object", None)
    assert set(message.fields_by_name) == set(properties), message.full_name
    for name, field in message.fields_by_name.items():
        if inner := message_of(field):
            assert_same(inner, properties[name])


@pytest.mark.parametrize("rpc", RPCS)
def test_a_request_has_the_parameters_and_the_body_of_rest(rpc: Rpc) -> None:
    operation = operation_of(rpc)
    path = PATHS[operation["operationId"]]
    given = [one["name"] for one in operation.get("parameters", ()) if one["in"] != "header"]
    ids = [name for name in given if f"{{{name}}}" in path and name.endswith("_id")]
    # The first id of a path is that of the service's own kind.
    named = {"id" if name in ids[:1] else PAGING.get(name, name) for name in given}
    body = content(operation["requestBody"]) if "requestBody" in operation else {"properties": {}}
    named |= set(body["properties"])
    assert set(rpc.method.input_type.fields_by_name) == named - ONLY_REST
    for name, field in rpc.method.input_type.fields_by_name.items():
        if inner := message_of(field):
            assert_same(inner, resolved(body["properties"][name]))


def test_a_batch_has_the_messages_of_a_single_creation() -> None:
    methods = {one.method.name: one.method for one in rpcs(services_with(ACCESS))}
    single, batch = methods["CreateMailbox"], methods["CreateMailboxes"]
    for kind in ("input_type", "output_type"):
        [field] = getattr(batch, kind).fields
        assert field.message_type == getattr(single, kind)


@pytest.mark.parametrize("rpc", [one for one in RPCS if one.id not in WITH_MAPS])
def test_a_response_has_the_fields_of_rest(rpc: Rpc) -> None:
    responses = operation_of(rpc)["responses"]
    schema = content(next(one for code, one in responses.items() if code[0] == "2"))
    properties = dict(schema["properties"])
    response = rpc.method.output_type
    resources = [inner for field in response.fields if (inner := message_of(field))]
    if not resources:
        if "data" in properties:  # of references
            properties = {"ids": resolved(properties["data"])["properties"]["id"]}
        assert set(response.fields_by_name) == set(properties) - {"object", "deleted"}
        return
    [resource] = resources
    if "data" in properties:
        assert_same(resource, resolved(properties["data"]))
        assert response.fields_by_name["next_page_token"]
        return
    beside = {field.name for field in response.fields if not message_of(field)}
    for name in beside:
        properties.pop(name)
    assert_same(resource, {"properties": properties})
