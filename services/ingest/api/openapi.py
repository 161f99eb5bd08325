"""The OpenAPI document: FastAPI's, with what it cannot see of routes that read and write octets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.ingest.api import shapes
from services.ingest.api.resource import REF, SHAPES
from services.ingest.api.sending import BATCH_MAX
from services.ingest.domain.draft import (
    ATTACHMENTS_MAX,
    HEADER_CHARS_MAX,
    HEADERS_MAX,
    PAIRS_MAX,
    RECIPIENTS_MAX,
)

JSON = "application/json"
ID = "01890000-0000-7000-8000-000000000000"
MAIL = {
    "from": "Shop <hello@shop.example.net>",
    "to": ["delivered@obm-sandbox.net"],
    "subject": "Your order",
    "text": "It is on its way.",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """answer: a shape; None for what is no JSON. example: a body that is taken."""

    id: str
    answer: type | None
    example: object = None
    headers: tuple[str, ...] = field(default=())


SEND = ("Idempotency-Key", "traceparent")
OPERATIONS = {
    "post /v1/emails": Operation("sendEmail", shapes.SentEmail, MAIL, SEND),
    "post /v1/emails/batch": Operation(
        "sendEmailBatch", shapes.SentBatch, [MAIL, MAIL], (*SEND, "x-batch-validation")
    ),
    "get /v1/emails": Operation("listEmails", shapes.list_of(shapes.EmailListed)),
    "get /v1/emails/{email_id}": Operation("getEmail", shapes.EmailShown),
    "patch /v1/emails/{email_id}": Operation(
        "rescheduleEmail", shapes.EmailChanged, {"scheduled_at": "in 2 hours"}
    ),
    "get /v1/emails/{email_id}/events": Operation(
        "listEmailEvents", shapes.list_of(shapes.EventShown)
    ),
    "post /v1/emails/{email_id}/cancel": Operation("cancelEmail", shapes.EmailChanged),
    "post /v1/emails/{email_id}/release": Operation("releaseEmail", shapes.EmailReleased),
    "post /v1/webhooks": Operation(
        "createWebhook",
        shapes.WebhookShown,
        {"endpoint": "https://hooks.example.com/mail", "events": ["email.delivered"]},
    ),
    "get /v1/webhooks": Operation("listWebhooks", shapes.list_of(shapes.WebhookShown)),
    "get /v1/webhooks/{webhook_id}": Operation("getWebhook", shapes.WebhookShown),
    "delete /v1/webhooks/{webhook_id}": Operation("deleteWebhook", shapes.Deleted),
    "post /v1/webhooks/{webhook_id}/test": Operation("testWebhook", shapes.TestEvent),
    "get /v1/webhooks/{webhook_id}/deliveries": Operation(
        "listWebhookDeliveries", shapes.list_of(shapes.DeliveryShown)
    ),
    "post /v1/suppressions": Operation(
        "addSuppression", shapes.SuppressionShown, {"email": "ann@example.net"}
    ),
    "get /v1/suppressions": Operation("listSuppressions", shapes.list_of(shapes.SuppressionShown)),
    "get /v1/suppressions/{email}": Operation("getSuppression", shapes.SuppressionShown),
    "delete /v1/suppressions/{email}": Operation("deleteSuppression", shapes.Deleted),
    "post /v1/suppressions/batch/add": Operation(
        "addSuppressions", shapes.SuppressionsAdded, {"emails": ["ann@example.net"]}
    ),
    "post /v1/suppressions/batch/remove": Operation(
        "removeSuppressions", shapes.SuppressionsRemoved, {"emails": ["ann@example.net"]}
    ),
    "get /v1/lanes": Operation("listLanes", shapes.list_of(shapes.LaneShown)),
    "post /v1/shield/score": Operation("scoreEmail", shapes.ScoreShown, MAIL),
    "get /v1/sandbox/messages": Operation(
        "listSandboxMessages", shapes.list_of(shapes.SandboxMessage)
    ),
    "get /v1/sandbox/messages/{message_id}": Operation(
        "getSandboxMessage", shapes.SandboxMessageWhole
    ),
    "get /v1/sandbox/messages/{message_id}/raw": Operation("getRawSandboxMessage", None),
    "get /v1/domains": Operation("listDomains", shapes.list_of(shapes.DomainShown)),
    "get /v1/domains/{domain_id}": Operation("getDomain", shapes.DomainShown),
    "get /v1/api-keys": Operation("listApiKeys", shapes.list_of(shapes.KeyShown)),
    "post /v1/api-keys": Operation("createApiKey", shapes.KeyMade, {"name": "shop"}),
    "delete /v1/api-keys/{key_id}": Operation("deleteApiKey", shapes.Deleted),
}

EVENT_TYPES = list(shapes.EventType.__args__)  # type: ignore[attr-defined]
STATUSES = list(shapes.Status.__args__)  # type: ignore[attr-defined]
MAILBOX = {
    "type": "string",
    "format": "mailbox",
    "description": "local@domain, or Name <local@domain>",
    "examples": ["Ann Lee <ann@example.net>"],
}
MAILBOXES = {"type": "array", "items": MAILBOX, "maxItems": RECIPIENTS_MAX}
OTHERS = {"anyOf": [MAILBOX, MAILBOXES, {"type": "null"}], "default": None}
ISO_TIME = {"type": "string", "format": "date-time", "pattern": "^(19[7-9][0-9]|[2-8][0-9]{3})-"}
NULL = {"type": "null"}
CUSTOM_HEADERS = {
    "type": "object",
    "description": "without those that the engine writes: From, Date, Content-…, signatures. A "
    "Message-ID of your own, <unique@host.example>, is kept, on every recipient's copy",
    "maxProperties": HEADERS_MAX,
    "propertyNames": {"pattern": "^[!-9;-~]{1,76}$"},
    "additionalProperties": {
        "type": "string", "maxLength": HEADER_CHARS_MAX,
        "pattern": "^[^\\u0000-\\u0008\\u000a-\\u001f\\u007f-\\u009f\\u2028\\u2029]*$",
    },
}  # fmt: skip
METADATA = {
    "type": "object",
    "maxProperties": PAIRS_MAX,
    "propertyNames": {"minLength": 1},
    "additionalProperties": {"type": "string"},
}
BASE64 = {"type": "string", "format": "base64", "contentEncoding": "base64"}
OCTETS = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}
BUFFER = {
    "type": "object",
    "description": "how JSON.stringify writes a Buffer of Node",
    "required": ["type", "data"],
    "additionalProperties": False,
    "properties": {"type": {"enum": ["Buffer"]}, "data": OCTETS},
}
# What the engine checks, beyond what the reader of the body does.
RULES: dict[str, dict[str, Any]] = {
    "Email": {
        "from": MAILBOX,
        "to": {"anyOf": [MAILBOX, {**MAILBOXES, "minItems": 1}]},
        "cc": OTHERS,
        "bcc": OTHERS,
        "reply_to": OTHERS,
        "subject": {"type": "string", "maxLength": 5_000, "pattern": "^[^\\r\\n\\u0000]*$"},
        "headers": {"anyOf": [CUSTOM_HEADERS, NULL], "default": None},
        "metadata": {"anyOf": [METADATA, NULL], "default": None},
        "scheduled_at": {"anyOf": [{"$ref": "#/components/schemas/Moment"}, NULL]},
    },
    "Attachment": {
        "content": {"anyOf": [BASE64, OCTETS, BUFFER]},
        "filename": {"type": "string", "format": "filename", "minLength": 1, "maxLength": 255},
        "content_type": {"anyOf": [{"type": "string", "format": "media-type"}, NULL]},
        "content_id": {"anyOf": [{"type": "string", "format": "content-id"}, NULL]},
    },
    "Change": {"scheduled_at": {"$ref": "#/components/schemas/Moment"}},
    "NewSuppression": {"email": MAILBOX},
    "Addresses": {"emails": {"type": "array", "items": MAILBOX, "minItems": 1, "maxItems": 500}},
    "NewKey": {
        "domain_id": {"anyOf": [{"type": "string", "format": "uuid"}, {"const": ""}, NULL]},
        "cidrs": {"type": "array", "maxItems": 100, "items": {"type": "string", "format": "cidr"}},
        "expires_at": {"anyOf": [ISO_TIME, NULL]},
    },
    "NewWebhook": {
        "endpoint": {"type": "string", "format": "iri", "pattern": "^https://", "maxLength": 2000},
        "events": {"type": "array", "maxItems": 100, "items": {"enum": EVENT_TYPES}},
    },
}
NO_NUL = "^[^\\u0000]*$"
ONE_OF_TWO = [
    {"required": [one], "properties": {one: {"type": "array"}, other: {"type": "null"}}}
    for one, other in (("emails", "ids"), ("ids", "emails"))
]
MOST = {"attachments": ATTACHMENTS_MAX, "tags": PAIRS_MAX}
TEXT = {"type": "string", "minLength": 1}
SOME_BODY = [
    {"required": [name], "properties": {name: TEXT}} for name in ("html", "text")
]  # one of them at least
MOMENT = {
    "type": "string",
    "format": "moment",
    "description": "ISO 8601 (UTC without an offset), or `in 10 min`; at most 30 days ahead. A time"
    " that has passed means now: the email leaves at once, and its `status` is `queued`",
    "examples": ["in 10 min", "tomorrow at 9am"],
}
HEADERS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "description": "the same request with it is accepted once, and answered as it first was",
        "schema": {"type": "string", "pattern": "^[!-~]([ -~]{0,254}[!-~])?$", "maxLength": 256},
    },
    "traceparent": {
        "description": "W3C trace context; stays with the email to its last event",
        "schema": {"type": "string"},
    },
    "x-batch-validation": {
        "description": "`permissive`: those that are valid are accepted; else all or none",
        "schema": {"type": "string", "examples": ["strict", "permissive"]},
    },
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "since": ISO_TIME,
    "until": ISO_TIME,
    "after": {"type": "string", "format": "cursor"},
    "before": {"type": "string", "format": "cursor"},
    "email": {"type": "string", "format": "mailbox"},
}
REQUEST_ID = {"X-Request-Id": {"description": "of this request", "schema": {"type": "string"}}}
RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}


def complete(made: dict[str, Any]) -> dict[str, Any]:
    """made: by FastAPI."""
    for name, path, one in operations(made):
        _describe(one, OPERATIONS.get(f"{name} {path}"))
    answers = [one.answer for one in OPERATIONS.values() if one.answer]
    _, schemas = msgspec.json.schema_components([*answers, shapes.Problem], ref_template=REF)
    components = made.setdefault("components", {})
    components["schemas"] = {**tightened(SHAPES), **schemas, "Moment": MOMENT}
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"key": []}]
    made["servers"] = [{"url": "/", "description": "this installation"}]
    whole: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(made))
    return whole


def operations(made: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in made["paths"].items():
        for name, one in methods.items():
            yield name, path, one


def _describe(one: dict[str, Any], known: Operation | None) -> None:
    for parameter in one.get("parameters", []):
        parameter["schema"] = _parameter(parameter["name"], parameter["schema"])
    for status, answer in one["responses"].items():
        answer["headers"] = REQUEST_ID if status[0] == "2" else {**REQUEST_ID, **RETRY}
        if status[0] != "2":
            problem = {"schema": {"$ref": REF.format(name="Problem")}}
            answer["content"] = {JSON: problem, "application/problem+json": problem}
        elif known is not None:
            answer["content"] = _content(known)
    if known is None:
        return
    one["operationId"] = known.id
    if known.example is not None:
        one["requestBody"]["content"][JSON]["example"] = known.example
    if known.id == "sendEmailBatch":
        one["requestBody"]["content"][JSON]["schema"] |= {"minItems": 1, "maxItems": BATCH_MAX}
    one.setdefault("parameters", []).extend(
        {"in": "header", "name": name, "required": False, **HEADERS[name]} for name in known.headers
    )


def _content(known: Operation) -> dict[str, Any]:
    if known.answer is None:
        return {"message/rfc822": {"schema": {"type": "string"}}}
    return {JSON: {"schema": {"$ref": REF.format(name=known.answer.__name__)}}}


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Without FastAPI's titles, and without defaults that mean nothing was said."""
    kept = {key: value for key, value in schema.items() if key != "title" and value != ""}
    if name.endswith("_id"):
        return {"type": "string", "format": "uuid"}
    if name == "status":
        return {"type": "string", "enum": STATUSES}
    text = {"pattern": NO_NUL} if kept.get("type") == "string" else {}
    return {**kept, **PARAMETERS.get(name, text)}


def tightened(bodies: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The shapes of bodies with the rules that are checked afterwards."""
    found = {}
    for name, shape in bodies.items():
        properties = {**shape["properties"], **RULES.get(name, {})}
        found[name] = {**shape, "properties": properties}
    if email := found.get("Email"):
        for name, most in MOST.items():
            email["properties"][name] = _bounded(email["properties"][name], maxItems=most)
        email["anyOf"] = SOME_BODY
    if attachment := found.get("Attachment"):
        attachment["required"] = ["content", "filename"]
        del attachment["properties"]["path"]  # by leave of an installation: docs/api.md
    if which := found.get("Which"):
        which["oneOf"] = ONE_OF_TWO
    return found


def _bounded(schema: dict[str, Any], **limits: int) -> dict[str, Any]:
    """The first of the alternatives is the one that holds something."""
    first, *rest = schema["anyOf"]
    return {**schema, "anyOf": [{**first, **limits}, *rest]}
