"""The return path: VERP (variable envelope return path) with a keyed token, similar to BATV.

`bounce+<token>@host`; the token is the message id and a truncated HMAC-SHA256 of it, so bounces
cannot be forged for other messages. Reports are sent to the reverse path (RFC 5321 §4.5.5), which
can identify the message (RFC 3461 §6).

The token is hexadecimal, because some servers ignore that local parts are case-sensitive (RFC 5321
§2.4). With the prefix it fits into the 64 octets of a local part (§4.5.3.1.1).
"""

import hmac
from hashlib import sha256
from uuid import UUID

from mail.address import Mailbox

PREFIX = "bounce"
DMARC_PREFIX, TLS_PREFIX = "rua", "tls"  # of addresses for reports about a domain
REPORT_PREFIXES = (DMARC_PREFIX, TLS_PREFIX)
REPORT_FIELD = "X-Report-Token"  # of the message, for reports without its return path
_MAC_OCTETS = 9  # 72 bits
_TOKEN_OCTETS = 16 + _MAC_OCTETS


def return_path(message_id: UUID, host: str, *, key: bytes, prefix: str = PREFIX) -> Mailbox:
    """The return path of a message. `key`: at least 16 secret octets. `host`: with our MX."""
    token = message_id.bytes + _mac(message_id, key)
    return Mailbox("", f"{prefix}+{token.hex()}", host)


def parse_return_path(local: str, *, keys: tuple[bytes, ...], prefix: str = PREFIX) -> UUID | None:
    """The message id in the recipient of a report; None if no key signed the token.

    `keys`: the current key and earlier ones, so that a rotation loses no bounces. The part from the
    @ on is ignored.
    """
    if parse_return_path_unverified(local, prefix=prefix) is None:
        return None
    return parse_token(_token(local), keys=keys)


def parse_return_path_unverified(local: str, *, prefix: str = PREFIX) -> UUID | None:
    """The message id in a return path, without verification: for callers that verify otherwise."""
    given, plus, _ = local.partition("@")[0].lower().rpartition("+")
    raw = _octets(_token(local))
    return UUID(bytes=raw[:16]) if plus and given == prefix and raw else None


def token_of(return_path: str) -> str:
    """The token in a return path, for REPORT_FIELD; empty if there is none."""
    named = parse_return_path_unverified(return_path) is not None
    return _token(return_path) if named else ""


def is_token(text: str) -> bool:
    """Whether it has the form of a token."""
    return bool(_octets(text))


def parse_token(token: str, *, keys: tuple[bytes, ...]) -> UUID | None:
    """The message id in a token; None if none of the keys signed it."""
    if not (raw := _octets(token)):
        return None
    message_id, mac = UUID(bytes=raw[:16]), raw[16:]
    known = any(hmac.compare_digest(mac, _mac(message_id, key)) for key in keys)
    return message_id if known else None


def _token(local: str) -> str:
    return local.partition("@")[0].rpartition("+")[2]


def _octets(token: str) -> bytes:
    """The octets of a token; empty if it is none."""
    try:
        raw = bytes.fromhex(token)
    except ValueError:
        return b""
    return raw if len(raw) == _TOKEN_OCTETS and len(token) == 2 * _TOKEN_OCTETS else b""


def _mac(message_id: UUID, key: bytes) -> bytes:
    if len(key) < 16:
        raise ValueError("the return path key needs at least 16 octets")
    return hmac.digest(key, b"verp1" + message_id.bytes, sha256)[:_MAC_OCTETS]
