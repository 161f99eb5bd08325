"""Header fields that a customer adds to the requests of a webhook, and Svix's names of ours."""

import re
from collections.abc import Mapping

import msgspec

HEADERS_MAX = 10
NAME_MAX, VALUE_MAX = 100, 1000
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")  # §5.5, in ASCII, never folded
# What the client sets or a connection is about, and what receivers trust.
RESERVED = frozenset(
    {
        "accept", "connection", "content-encoding", "content-length", "content-type", "expect",
        "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent",
    }
)  # fmt: skip
RESERVED_PREFIXES = ("webhook-", "svix-", "proxy-")


def headers_problem(headers: Mapping[str, str]) -> str:
    """Why they cannot be added to a request; empty if they can."""
    if len(headers) > HEADERS_MAX:
        return f"at most {HEADERS_MAX} headers"
    if len({name.lower() for name in headers}) < len(headers):
        return "a header is given more than once: case does not matter in a name"
    return next(filter(None, map(_problem, headers, headers.values())), "")


def _problem(name: str, value: str) -> str:
    shown = ascii(name[:NAME_MAX])
    if len(name) > NAME_MAX or not _NAME.fullmatch(name):
        return f"{shown} is not a header name of at most {NAME_MAX} characters"
    if name.lower() in RESERVED or name.lower().startswith(RESERVED_PREFIXES):
        return f"{shown} is reserved"
    if len(value) > VALUE_MAX or not _VALUE.fullmatch(value):
        return f"the value of {shown} is not 1 to {VALUE_MAX} visible ASCII characters"
    return ""


encode_headers = msgspec.json.Encoder(order="deterministic").encode
decode_headers = msgspec.json.Decoder(dict[str, str]).decode


def svix_names(signed: Mapping[str, str]) -> dict[str, str]:
    """The signature headers under the names that clients of Svix read."""
    return {name.replace("webhook-", "svix-"): value for name, value in signed.items()}
