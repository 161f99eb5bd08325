"""Tokens of tracking links and of the open tracking pixel: RFC 3986.

A tracking link contains its target and an HMAC over mode, tenant, message and target, so it is no
open redirect. Tokens of one link have the same length in the messages of all recipients.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from urllib.parse import urlsplit
from uuid import UUID

from mail import signed_token
from mail.address import AddressError, to_ascii
from mail.patterns import optional

_CLICK, _OPEN = b"click", b"open"
_NAMED = 33  # octets of a payload before the target
MAX_URL = 4096  # octets in UTF-8
# The usual URL, whose host needs no closer look.
_PLAIN = re.compile(
    r"[hH][tT]{2}[pP][sS]?://([A-Za-z0-9.-]+)(?::[0-9]{1,5})?" + optional(r"[/?#][!-[\]-~]*+")
)
_HOST_CHARS = 253  # RFC 1035 §2.3.4, in text
_DOTS = ".\u3002\uff0e\uff61"  # for browsers too: UTS 46 §2.3
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\\u0080-\u009f\u2028\u2029\ud800-\udfff]")


class TrackingMode(IntEnum):
    """What is kept of an open or a click, from nothing to everything. It is an octet of each token,
    so that no other source decides what may be kept."""

    OFF = 0  # no token has it
    ANONYMOUS = 1  # that somebody has opened the email
    PSEUDONYMOUS = 2  # which message, without its recipient
    IDENTIFIED = 3  # the recipient, the client's program and its network
    FULL = 4  # User-Agent and IP address as they are


_MODES = {int(mode): mode for mode in TrackingMode if mode is not TrackingMode.OFF}


@dataclass(frozen=True, slots=True)
class Click:
    """A followed link of a message, with its target."""

    tenant_id: UUID
    message_id: UUID
    url: str
    mode: TrackingMode = TrackingMode.IDENTIFIED


@dataclass(frozen=True, slots=True)
class PixelOpen:
    """A fetched pixel of a message."""

    tenant_id: UUID
    message_id: UUID
    mode: TrackingMode = TrackingMode.IDENTIFIED


def is_trackable(url: str) -> bool:
    """Whether a link can be tracked: http or https, with a host, without control characters."""
    return bool(host_of(url))


def host_of(url: str) -> str:
    """The host of a link that can be tracked, in lower case; empty for any other."""
    if len(url) > MAX_URL:
        return ""
    if plain := _PLAIN.fullmatch(url):
        return plain[1].lower()
    if _FORBIDDEN.search(url) or len(url.encode()) > MAX_URL:
        return ""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "") if parts.scheme.lower() in ("http", "https") else ""
    except ValueError:
        return ""


@lru_cache(maxsize=10_000)  # a host that is not ASCII costs a hundred times as much
def in_a_labels(host: str) -> str:
    """A host of `host_of` as lists of hosts have it: in A-labels, without the dot of the root. The
    same host if it is no domain name."""
    bare = host.rstrip(_DOTS)
    if bare.isascii() or len(bare) > _HOST_CHARS:
        return bare
    try:
        return to_ascii(bare)
    except AddressError:
        return bare


def click_token(click: Click, key: bytes) -> str:
    """The token of a link. Raises ValueError for a target that cannot be tracked."""
    if not is_trackable(click.url):
        raise ValueError(f"{click.url[:80]!r} is not an http(s) URL")
    owner = _named(click.mode, click.tenant_id, click.message_id)
    return signed_token.sign(_CLICK, owner + click.url.encode("utf-8"), key)


def click_token_begins(
    tenant_id: UUID,
    message_id: UUID,
    urls: Iterable[str],
    *,
    key: bytes,
    mode: TrackingMode = TrackingMode.IDENTIFIED,
) -> list[str]:
    """What differs between recipients in the tokens of links of one message: 60 characters, before
    the `click_token_end`. urls: that can be tracked."""
    owner = _named(mode, tenant_id, message_id)
    return signed_token.sign_each(_CLICK, owner, key, ends=[url.encode("utf-8") for url in urls])


def click_token_end(url: str) -> str:
    """What the token of a link ends with, in the messages of all recipients."""
    return signed_token.encode(url.encode("utf-8"))


def read_click(text: str, keys: Iterable[bytes]) -> Click | None:
    """The click that a token stands for; None if it is forged: respond 404."""
    payload = signed_token.verify(_CLICK, text, keys)
    if payload is None or len(payload) <= _NAMED or payload[0] not in _MODES:
        return None
    url = payload[_NAMED:].decode("utf-8", "replace")
    if not is_trackable(url):
        return None
    return Click(UUID(bytes=payload[1:17]), UUID(bytes=payload[17:33]), url, _MODES[payload[0]])


def redirect_location(click: Click) -> str:
    """The Location of the redirect: the target with non-ASCII characters percent-encoded."""
    return "".join(c if c.isascii() else _percent(c) for c in click.url)


def _percent(char: str) -> str:
    return "".join(f"%{octet:02X}" for octet in char.encode("utf-8"))


def open_token(opened: PixelOpen, key: bytes) -> str:
    """The token of a pixel."""
    return signed_token.sign(_OPEN, _named(opened.mode, opened.tenant_id, opened.message_id), key)


def read_open(text: str, keys: Iterable[bytes]) -> PixelOpen | None:
    """The open that a token stands for; None if it is forged."""
    payload = signed_token.verify(_OPEN, text, keys)
    if payload is None or len(payload) != _NAMED or payload[0] not in _MODES:
        return None
    return PixelOpen(UUID(bytes=payload[1:17]), UUID(bytes=payload[17:]), _MODES[payload[0]])


def _named(mode: TrackingMode, tenant_id: UUID, message_id: UUID) -> bytes:
    """The beginning of a payload, 33 octets."""
    return bytes((mode,)) + tenant_id.bytes + message_id.bytes
