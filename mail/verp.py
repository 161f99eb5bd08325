"""The return path: VERP (variable envelope return path) with a keyed token, in the manner of BATV.

`bounce+<token>@host`, the token being the message id and a truncated HMAC-SHA256 over it. A bounce
for a message that was never sent, or for another's, cannot be made up: RFC 5321 §4.5.5 sends
reports to the reverse path, RFC 3461 §6 allows it to name the message.

The token is in base32 with lower-case letters: local parts are case-sensitive (RFC 5321 §2.4), but
not every server knows.
"""

import hmac
from base64 import b32decode
from hashlib import sha256
from uuid import UUID

from mail.address import Mailbox

PREFIX = "bounce"
_MAC_OCTETS = 9  # 72 bits; 16 + 9 octets are 40 characters of base32, exactly
_TOKEN_LENGTH = 40
# RFC 4648 §6 in lower case, ten bits as two letters: base64.b32encode takes five times as long.
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _LETTERS for second in _LETTERS]
_SHIFTS = range(190, -1, -10)


def make(message_id: UUID, host: str, *, key: bytes, prefix: str = PREFIX) -> Mailbox:
    """The return path of a message. `key`: at least 16 secret octets; `host` has our MX."""
    number = int.from_bytes(message_id.bytes + _mac(message_id, key), "big")
    token = "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
    return Mailbox("", f"{prefix}+{token}", host)


def parse(local: str, *, keys: tuple[bytes, ...], prefix: str = PREFIX) -> UUID | None:
    """The message that a recipient of a report names; None when no key made that token.

    `keys`: the current one and those before it, so that a rotation loses no bounce. In a whole
    address the part from the @ on is ignored.
    """
    given, plus, token = local.partition("@")[0].lower().rpartition("+")
    if not plus or given != prefix or len(token) != _TOKEN_LENGTH:
        return None
    try:
        raw = b32decode(token.upper())
    except ValueError:
        return None
    message_id = UUID(bytes=raw[:16])
    for key in keys:
        if hmac.compare_digest(raw[16:], _mac(message_id, key)):
            return message_id
    return None


def _mac(message_id: UUID, key: bytes) -> bytes:
    if len(key) < 16:
        raise ValueError("the return path key needs at least 16 octets")
    return hmac.digest(key, b"verp1" + message_id.bytes, sha256)[:_MAC_OCTETS]
