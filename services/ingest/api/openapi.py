"""The OpenAPI document: FastAPI's, completed for routes that read and write raw bodies."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from kernel.brand import Brand
from services.ingest.api import response_schemas
from services.ingest.api.body_rules import ISO_TIME, with_rules
from services.ingest.api.callers import OWNERS, TENANT_HEADER, AccessRule
from services.ingest.api.operation import Operation
from services.ingest.api.operations import OPERATIONS
from services.ingest.api.rest_base import BODY_SCHEMAS, REF
from services.ingest.api.sending import BATCH_MAX

JSON = "application/json"
STATUSES = list(response_schemas.Status.__args__)  # type: ignore[attr-defined]
CURSOR = {"type": "string", "format": "cursor"}
NO_NUL = "^[^\\u0000]*$"
MOMENT = {
    "type": "string",
    "format": "moment",
    "description": "ISO 8601 (UTC without an offset), or `in 10 min`; at most 30 days "
    "ahead. The email is sent at once if the time has passed; its `status` "
    "is then `queued`",
    "examples": ["in 10 min", "tomorrow at 9am"],
}
HEADERS: dict[str, dict[str, Any]] = {
    "Last-Event-ID": {
        "description": "Id of the last event that was received; browsers send it themselves",
        "schema": CURSOR,
    },
    "Idempotency-Key": {
        "description": "A repeated request with the same key is accepted once and gets the "
        "first response",
        "schema": {"type": "string", "pattern": "^[!-~]([ -~]{0,254}[!-~])?$", "maxLength": 256},
    },
    TENANT_HEADER: {
        "description": "With the key of an account or an operator: id of the tenant that the "
        "request is for. Keys of tenants ignore it",
        "schema": {"type": "string"},
    },
    "traceparent": {
        "description": "W3C trace context; all events of the email carry it",
        "schema": {"type": "string"},
    },
    "x-batch-validation": {
        "description": "`permissive`: accept the valid emails; otherwise all or none",
        "schema": {"type": "string", "examples": ["strict", "permissive"]},
    },
}
PARAMETERS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("since", "until"), ISO_TIME),
    **dict.fromkeys(("after", "before"), CURSOR),
    **{name: {"type": "string", "format": "mailbox"} for name in ("email", "address")},
}
SECURITY_SCHEMES = {
    f"{kind.value}Key": {"type": "http", "scheme": "bearer", "description": f"The key of {owner}"}
    for kind, owner in OWNERS.items()
}
REQUEST_ID = {"X-Request-Id": {"description": "Id of this request", "schema": {"type": "string"}}}
RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}


def complete_document(made: dict[str, Any], brand: Brand) -> dict[str, Any]:
    """made: the document that FastAPI generated."""
    for name, path, one in operations(made):
        _describe(one, OPERATIONS.get(f"{name} {path}"))
    responses = [one.response for one in OPERATIONS.values() if one.response]
    _, schemas = msgspec.json.schema_components(
        [*responses, response_schemas.Problem], ref_template=REF
    )
    components = made.setdefault("components", {})
    components["schemas"] = {**with_rules(BODY_SCHEMAS), **schemas, "Moment": MOMENT}
    components["securitySchemes"] = SECURITY_SCHEMES
    hosts = [{"url": f"https://{host}"} for host in brand.api_hosts]
    made["servers"] = hosts or [{"url": "/", "description": "This installation"}]
    if brand.docs_host:
        made["externalDocs"] = {"url": f"https://{brand.docs_host}/docs"}
    text = msgspec.json.encode(made).replace(
        Brand().sandbox_domain.encode(), brand.sandbox_domain.encode()
    )
    whole: dict[str, Any] = msgspec.json.decode(text)
    return whole


def operations(made: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in made["paths"].items():
        for name, one in methods.items():
            yield name, path, one


def _describe(one: dict[str, Any], operation: Operation | None) -> None:
    for parameter in one.get("parameters", []):
        parameter["schema"] = _parameter(parameter["name"], parameter["schema"])
    for status, response in one["responses"].items():
        response["headers"] = REQUEST_ID if status[0] == "2" else {**REQUEST_ID, **RETRY}
        if status[0] != "2":
            problem = {"schema": {"$ref": REF.format(name="Problem")}}
            response["content"] = {JSON: problem, "application/problem+json": problem}
        elif operation is not None:
            response["content"] = _content(operation)
    if operation is None:
        return
    rule = operation.access
    one["operationId"] = operation.id
    one["security"] = [{f"{kind.value}Key": [rule.scope]} for kind in rule.callers]
    if operation.example is not None:
        one["requestBody"]["content"][JSON]["example"] = operation.example
    if operation.id == "sendEmailBatch":
        one["requestBody"]["content"][JSON]["schema"] |= {"minItems": 1, "maxItems": BATCH_MAX}
    one.setdefault("parameters", []).extend(
        {"in": "header", "name": name, "required": False, **HEADERS[name]}
        for name in (*operation.headers, *headers_of(rule))
    )


def headers_of(rule: AccessRule) -> list[str]:
    return [TENANT_HEADER] if rule.names_tenant or rule.may_name_tenant else []


def _content(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {one: {"schema": {"type": "string"}} for one in operation.media_types}
    if operation.response is not None:
        found[JSON] = {"schema": {"$ref": REF.format(name=operation.response.__name__)}}
    return found


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Remove FastAPI's titles, and empty defaults."""
    bounded = {key: value for key, value in schema.items() if key != "title" and value != ""}
    if schema.get("type") == "array":
        return {**bounded, "items": _parameter(name, schema["items"])}
    if name.endswith("_id") and "format" not in schema and name not in {"external_id", "brand_id"}:
        return {"type": "string", "format": "uuid"}
    if name == "status":
        return {"type": "string", "enum": STATUSES}
    if bounded.get("type") != "string" or "format" in bounded:
        return bounded
    return {**bounded, **PARAMETERS.get(name, {"pattern": NO_NUL})}
