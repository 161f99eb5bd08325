"""The rules of request bodies that the engine checks after it has decoded them, as JSON Schema."""

from collections.abc import Mapping
from typing import Any

from services.ingest.domain.valid_email import (
    ATTACHMENTS_MAX,
    HEADER_CHARS_MAX,
    HEADERS_MAX,
    PAIRS_MAX,
    RECIPIENTS_MAX,
)

MAILBOX = {
    "type": "string",
    "format": "mailbox",
    "description": "local@domain, or Name <local@domain>",
    "examples": ["Ann Lee <ann@example.net>"],
}
ADDRESS = {"type": "string", "format": "email"}
HOST_NAME = {"type": "string", "format": "hostname"}
MAILBOXES = {"type": "array", "items": MAILBOX, "maxItems": RECIPIENTS_MAX}
OPTIONAL_MAILBOXES = {"anyOf": [MAILBOX, MAILBOXES, {"type": "null"}], "default": None}
ISO_TIME = {"type": "string", "format": "date-time", "pattern": "^(19[7-9][0-9]|[2-8][0-9]{3})-"}
NULL = {"type": "null"}
EMPTY = {"const": ""}
EXPIRY = {"expires_at": {"anyOf": [ISO_TIME, NULL]}}
IP_ADDRESS = {"type": "string", "format": "ip-address"}
ADDRESSES = {"type": "array", "minItems": 1, "maxItems": 2, "items": IP_ADDRESS}
OPTIONAL_HOST_NAME = {"anyOf": [HOST_NAME, EMPTY]}
SOON = {
    "type": "string",
    "format": "moment",
    "description": "ISO 8601 (UTC without an offset), or `in 4 hours`; at most 30 days ahead",
    "examples": ["in 4 hours", "tomorrow at 9am"],
}
ID = {"type": "string", "format": "uuid"}
OPTIONAL_ID = {"anyOf": [ID, NULL]}
CUSTOM_HEADERS = {
    "type": "object",
    "description": "Custom headers, except those that the engine writes: From, Date, "
        "Content-…, signatures. A Message-ID of your own, <unique@host.example>, "
        "must be short; every recipient's message has it",
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
    "description": "A Node Buffer as JSON.stringify writes it",
    "required": ["type", "data"],
    "additionalProperties": False,
    "properties": {"type": {"enum": ["Buffer"]}, "data": OCTETS},
}
WEBHOOK = {
    "endpoint": {"type": "string", "format": "iri", "pattern": "^https://", "maxLength": 2000},
    "tenant_ids": {"type": "array", "maxItems": 100, "items": ID},
}
OF_CLIENTS = ("smtp_host", "docs_host", "tracking_host", "unsubscribe_host")
BRAND_HOST = {"type": "string", "format": "brand-host"}
BRAND = {
    "sandbox_domain": HOST_NAME,
    **dict.fromkeys(("bounce_mx", "spf_include", "dkim_zone"), OPTIONAL_HOST_NAME),
    **{key: {"anyOf": [BRAND_HOST, EMPTY]} for key in OF_CLIENTS},
    "api_hosts": {"type": "array", "items": BRAND_HOST, "maxItems": 20},
}
SCOPE_PATTERN = (
    "^((tenant|api_key|mailbox|pool|warmup|site)/[!-.0-~]{1,255}|"
    "(tenant_site|egress_site)(/[!-.0-~]{1,255}){2}|engine/)$"
)
RULES: dict[str, dict[str, Any]] = {
    "SendEmailRequest": {
        "from": MAILBOX,
        "to": {"anyOf": [MAILBOX, {**MAILBOXES, "minItems": 1}]},
        **dict.fromkeys(("cc", "bcc", "reply_to"), OPTIONAL_MAILBOXES),
        "subject": {"type": "string", "maxLength": 5_000, "pattern": "^[^\\r\\n\\u0000]*$"},
        "headers": {"anyOf": [CUSTOM_HEADERS, NULL], "default": None},
        "metadata": {"anyOf": [METADATA, NULL], "default": None},
        "scheduled_at": {"anyOf": [{"$ref": "#/components/schemas/Moment"}, NULL]},
    },
    "SendRawRequest": {
        "raw": {"type": "string", "format": "raw-message", "contentEncoding": "base64"},
        **dict.fromkeys(("to", "cc", "bcc"), OPTIONAL_MAILBOXES),
        "metadata": {"anyOf": [METADATA, NULL], "default": None},
        "scheduled_at": {"anyOf": [{"$ref": "#/components/schemas/Moment"}, NULL]},
    },
    "Attachment": {
        "content": {"anyOf": [BASE64, OCTETS, BUFFER]},
        "filename": {"type": "string", "format": "filename", "minLength": 1, "maxLength": 255},
        "content_type": {"anyOf": [{"type": "string", "format": "media-type"}, NULL]},
        "content_id": {"anyOf": [{"type": "string", "format": "content-id"}, NULL]},
    },
    "UpdateEmailRequest": {"scheduled_at": {"$ref": "#/components/schemas/Moment"}},
    "CancelFilter": {
        "recipient_domain": OPTIONAL_HOST_NAME,
        "sender": {"anyOf": [ADDRESS, HOST_NAME, EMPTY]},
    },
    "CancelQueuedRequest": {"after": {"anyOf": [ID, EMPTY]}},
    "HeldFilter": {key: {"anyOf": [ISO_TIME, EMPTY]} for key in ("since", "until")},
    "ReviewHeldRequest": {
        "ids": {"anyOf": [{"type": "array", "minItems": 1, "maxItems": 500, "items": ID}, NULL]},
        "after": {"anyOf": [ID, EMPTY]},
    },
    "AddSuppressionRequest": {"email": MAILBOX, **EXPIRY},
    "AddSuppressionsRequest": {"emails": {**MAILBOXES, "minItems": 1, "maxItems": 500}, **EXPIRY},
    "CreateDomainRequest": {
        "name": {"type": "string", "format": "domain", "minLength": 4, "maxLength": 253},
    },
    "CreateApiKeyRequest": {
        **dict.fromkeys(("account_id", "tenant_id"), OPTIONAL_ID),
        "domain_id": {"anyOf": [*OPTIONAL_ID["anyOf"], EMPTY]},
        "cidrs": {"type": "array", "maxItems": 100, "items": {"type": "string", "format": "cidr"}},
        **EXPIRY,
    },
    "CreateBrandRequest": BRAND,
    "UpdateBrandRequest": BRAND,
    "CreateTenantRequest": {"account_id": OPTIONAL_ID},
    "AddIpRequest": {
        "addresses": {**ADDRESSES, "minItems": 0},
        "ehlo": OPTIONAL_HOST_NAME,
        "pool_id": OPTIONAL_ID,
    },
    "UpdateIpRequest": {
        "addresses": ADDRESSES,
        "ehlo": OPTIONAL_HOST_NAME,
        "pool_id": {"type": "string", "format": "uuid"},
    },
    "SuspendIpRequest": {"until": SOON},
    "OverrideRequest": dict.fromkeys(("egress_id", "tenant_id"), OPTIONAL_ID),
    "CreateMailboxRequest": {
        "address": {"type": "string", "format": "own-address", "minLength": 3, "maxLength": 320},
    },
    "ExportFilter": {name: {"anyOf": [ISO_TIME, NULL]} for name in ("since", "until")},
    "CreateReportRequest": {
        "timezone": {
            "type": "string",
            "format": "time-zone",
            "minLength": 1,
            "default": "UTC",
        }
    },
    "PauseTenantRequest": {"until": {"anyOf": [ISO_TIME, NULL]}},
    "ScopeLimits": {
        "scope": {"type": "string", "format": "scope", "pattern": SCOPE_PATTERN},
        "time_zone": {"type": "string", "format": "time-zone", "examples": ["Europe/Berlin"]},
    },
    "CreateWebhookRequest": WEBHOOK,
    "UpdateWebhookRequest": WEBHOOK,
}
ONE_OF_TWO = [
    {"required": [one], "properties": {one: {"type": "array"}, other: {"type": "null"}}}
    for one, other in (("emails", "ids"), ("ids", "emails"))
]
ITEMS_MAX = {"attachments": ATTACHMENTS_MAX, "tags": PAIRS_MAX}
TEXT = {"type": "string", "minLength": 1}
BOTH: dict[str, Any] = {"stream": {"const": "transactional"}, "list": {"type": "string"}}
TRANSACTIONAL_TO_LIST = {"required": [*BOTH], "properties": BOTH}  # is refused
SOME_BODY = [
    {"required": [name], "properties": {name: TEXT}} for name in ("html", "text")
]  # at least one of them
SOME_FILTER = [
    {"required": ["all"], "properties": {"all": {"const": True}}},
    {"required": ["tag"], "properties": {"tag": {"type": "object"}}},
    *({"required": [n], "properties": {n: TEXT}} for n in ("recipient_domain", "sender", "site")),
]
TEXTS_OF_HELD = ("rule", "recipient_domain", "sender", "since", "until")
SOME_HELD = [
    {"required": ["all"], "properties": {"all": {"const": True}}},
    *({"required": [n], "properties": {n: TEXT}} for n in TEXTS_OF_HELD),
    *(
        {"required": [n], "properties": {n: {"type": "number"}}}
        for n in ("score_from", "score_below")
    ),
]
IDS_OR_FILTER: list[dict[str, Any]] = [
    {
        "required": ["ids"],
        "properties": {
            "ids": {"type": "array"}, "filter": NULL, "after": EMPTY,
            "dry_run": {"const": False},
        },
    },
    {"required": ["filter"], "properties": {"filter": {"type": "object"}, "ids": NULL}},
]  # fmt: skip
LIST_IF_SCOPE = [
    {"properties": {"scope": {"enum": ["tenant", "account"]}}},
    {"required": ["list"], "properties": {"list": {"type": "string"}}},
]
# Of fields together.
CONDITIONS: dict[str, dict[str, Any]] = {
    "SendEmailRequest": {"anyOf": SOME_BODY, "not": TRANSACTIONAL_TO_LIST},
    "SendRawRequest": {"not": TRANSACTIONAL_TO_LIST},
    "Attachment": {"required": ["content", "filename"]},
    "CancelFilter": {"anyOf": SOME_FILTER},
    "HeldFilter": {"anyOf": SOME_HELD},
    "ReviewHeldRequest": {"oneOf": IDS_OR_FILTER},
    "AddSuppressionRequest": {"anyOf": LIST_IF_SCOPE},
    "AddSuppressionsRequest": {"anyOf": LIST_IF_SCOPE},
    "SuppressionSelector": {"oneOf": ONE_OF_TWO},
}


def with_rules(bodies: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The schemas of bodies, with the rules that are checked after decoding."""
    found = {}
    for name, schema in bodies.items():
        properties = {**schema["properties"], **RULES.get(name, {})}
        found[name] = {**schema, "properties": properties, **CONDITIONS.get(name, {})}
    if email := found.get("SendEmailRequest"):
        for name, most in ITEMS_MAX.items():
            email["properties"][name] = _bounded(email["properties"][name], maxItems=most)
        del email["properties"]["topic_id"]  # Resend's name of list
    if raw := found.get("SendRawRequest"):
        del raw["properties"]["topic_id"]
        raw["properties"]["tags"] = _bounded(raw["properties"]["tags"], maxItems=PAIRS_MAX)
    if attachment := found.get("Attachment"):
        del attachment["properties"]["path"]  # depends on the installation: docs/api.md
    return found


def _bounded(schema: dict[str, Any], **limits: int) -> dict[str, Any]:
    """Only the first alternative is an array."""
    first, *rest = schema["anyOf"]
    return {**schema, "anyOf": [{**first, **limits}, *rest]}
