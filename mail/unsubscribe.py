"""Unsubscribing: List-Unsubscribe (RFC 2369) and one click (RFC 8058).

A mail client's POST has no cookie and no login, so its URL contains a signed token. A GET must not
change anything, because scanners follow every link. The token has the recipient, encrypted: it is
valid for as long as its key, whatever is still known of the message.
"""

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mail import headers, parser, signed_token

_PURPOSE = b"unsubscribe"
_URL = re.compile(r"https://[^\s<>,\"\x00-\x20\x7f-\U0010ffff]{1,1900}")
_MAILTO = re.compile(r"mailto:[^\s<>,\"\x00-\x20\x7f-\U0010ffff]{1,900}")
ONE_CLICK = "List-Unsubscribe=One-Click"
FIELD, POST_FIELD = "List-Unsubscribe", "List-Unsubscribe-Post"
URL_PLACEHOLDER = "{{unsubscribe_url}}"  # stands for the URL of each message, in its text


@dataclass(frozen=True, slots=True)
class Subscription:
    """The subscription to end: the message, its tenant, the list ("" for all mail), and the
    recipient. test: of test mail."""

    tenant_id: UUID
    message_id: UUID
    list_name: str = ""
    recipient: str = ""
    test: bool = False


def unsubscribe_fields(
    url: str, mailto: str | None = None, *, one_click: bool = True
) -> tuple[bytes, ...]:
    """List-Unsubscribe and, for one click, List-Unsubscribe-Post; both must be DKIM-signed.

    Raises HeaderError if the URL is not https (RFC 8058 §3.1) or has characters invalid in a URI.
    """
    if not _URL.fullmatch(url):
        raise headers.HeaderError(f"{url[:80]!r} is not a valid https URL for List-Unsubscribe")
    targets = [f"<{url}>"]
    if mailto is not None:
        address = mailto if mailto.startswith("mailto:") else f"mailto:{mailto}"
        if not _MAILTO.fullmatch(address):
            raise headers.HeaderError(
                f"{mailto[:80]!r} is not a valid mailto URL for List-Unsubscribe"
            )
        targets.append(f"<{address}>")
    line = headers.encode_field(FIELD, ", ".join(targets))
    return (line, headers.encode_field(POST_FIELD, ONE_CLICK)) if one_click else (line,)


def is_field(name: str) -> bool:
    """Whether it is the name of one of the two."""
    return name.lower() in (FIELD.lower(), POST_FIELD.lower())


def sign(subscription: Subscription, key: bytes) -> str:
    """The token for the URL. `key`: at least 16 secret octets."""
    message = subscription.message_id.bytes
    sealed = _cipher(key).encrypt(
        _nonce(message), bytes((subscription.test,)) + subscription.recipient.encode("utf-8"), None
    )
    return signed_token.sign(
        _PURPOSE,
        subscription.tenant_id.bytes
        + message
        + len(sealed).to_bytes(2, "big")
        + sealed
        + subscription.list_name.encode("utf-8"),
        key,
    )


def verify(text: str, keys: Iterable[bytes]) -> Subscription | None:
    """The subscription that a token stands for; None if it is forged: respond 404."""
    for key in keys:
        if (payload := signed_token.verify(_PURPOSE, text, [key])) is not None:
            return _read(payload, key)
    return None


def _read(payload: bytes, key: bytes) -> Subscription | None:
    tenant, message, rest = payload[:16], payload[16:32], payload[34:]
    size = int.from_bytes(payload[32:34], "big")
    try:
        opened = _cipher(key).decrypt(_nonce(message), rest[:size], None)
        return Subscription(
            UUID(bytes=tenant),
            UUID(bytes=message),
            rest[size:].decode("utf-8"),
            opened[1:].decode("utf-8"),
            test=bool(opened[0]),
        )
    except (InvalidTag, ValueError, IndexError):
        return None


@lru_cache(maxsize=64)
def _cipher(key: bytes) -> AESGCM:
    """With a key of its own, derived from that of the signature."""
    return AESGCM(hmac.digest(key, b"unsubscribe recipient", "sha256"))


def _nonce(message_id: bytes) -> bytes:
    """12 octets of which 74 bits are random (RFC 9562 §5.7). A message has one recipient, so that
    no nonce is used for two plaintexts, and its token is the same on every attempt."""
    return message_id[4:]


def is_one_click(content_type: str, body: bytes) -> bool:
    """Whether a POST contains `List-Unsubscribe=One-Click`, url-encoded or as form data (§3.2)."""
    if len(body) > 65536:
        return False
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        head = b"Content-Type: " + content_type.encode("latin-1", "replace").replace(b"\n", b" ")
        return any(_is_one_click_part(part) for part in _form(head, body))
    try:
        given = parse_qsl(body.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
    except ValueError:  # more fields
        return False
    return ("List-Unsubscribe", "One-Click") in given


def _form(head: bytes, body: bytes) -> list[parser.Entity]:
    whole = parser.parse_entity(head.replace(b"form-data", b"mixed", 1) + b"\r\n\r\n" + body)
    return parser.parts(whole)


def _is_one_click_part(part: parser.Entity) -> bool:
    _, given = parser.parse_parameters(part.get("content-disposition"))
    return given.get("name") == "List-Unsubscribe" and part.body.strip() == b"One-Click"
