"""The return path: VERP (variable envelope return path) with a keyed token, in the manner of BATV.

`bounce+<token>@host`, the token being the message id and a truncated HMAC-SHA256 over it. A bounce
for a message that was never sent, or for another's, cannot be made up: RFC 5321 §4.5.5 sends
reports to the reverse path, RFC 3461 §6 allows it to name the message.

The token is in hexadecimal digits: local parts are case-sensitive (RFC 5321 §2.4), but not every
server knows. With the prefix it stays below the 64 octets of a local part (§4.5.3.1.1).
"""

import hmac
from hashlib import sha256
from uuid import UUID

from mail.address import Mailbox

PREFIX = "bounce"
_MAC_OCTETS = 9  # 72 bits
_TOKEN_OCTETS = 16 + _MAC_OCTETS


def return_path(message_id: UUID, host: str, *, key: bytes, prefix: str = PREFIX) -> Mailbox:
    """The return path of a message. `key`: at least 16 secret octets; `host` has our MX."""
    token = message_id.bytes + _mac(message_id, key)
    return Mailbox("", f"{prefix}+{token.hex()}", host)


def parse(local: str, *, keys: tuple[bytes, ...], prefix: str = PREFIX) -> UUID | None:
    """The message that a recipient of a report names; None when no key made that token.

    `keys`: the current one and those before it, so that a rotation loses no bounce. In a whole
    address the part from the @ on is ignored.
    """
    if (message_id := parse_unverified(local, prefix=prefix)) is None:
        return None
    mac = _raw(local)[16:]
    known = any(hmac.compare_digest(mac, _mac(message_id, key)) for key in keys)
    return message_id if known else None


def parse_unverified(local: str, *, prefix: str = PREFIX) -> UUID | None:
    """The message that a return path names, whoever made it up: for who knows better."""
    given, plus, _ = local.partition("@")[0].lower().rpartition("+")
    raw = _raw(local)
    return UUID(bytes=raw[:16]) if plus and given == prefix and raw else None


def _raw(local: str) -> bytes:
    """The octets of a token; none where there is no token."""
    token = local.partition("@")[0].rpartition("+")[2]
    try:
        raw = bytes.fromhex(token)
    except ValueError:
        return b""
    return raw if len(raw) == _TOKEN_OCTETS and len(token) == 2 * _TOKEN_OCTETS else b""


def _mac(message_id: UUID, key: bytes) -> bytes:
    if len(key) < 16:
        raise ValueError("the return path key needs at least 16 octets")
    return hmac.digest(key, b"verp1" + message_id.bytes, sha256)[:_MAC_OCTETS]
