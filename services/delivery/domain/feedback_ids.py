"""The Feedback-ID of messages. Whoever reads one learns that two messages have the same tenant or
account, and nothing about them: the identifiers are keyed digests."""

import hmac
from hashlib import sha256

from contracts.ingest.v1.events_pb2 import MessageContext
from kernel.bounded_dict import BoundedDict
from mail import feedback_id

FIELDS_MAX = 10_000
OCTETS = 5  # of a digest: a million tenants have one collision in two, which only blurs a figure


class FeedbackIdEncoder:
    """key: secret; another one changes all identifiers. sender: of this installation, or empty for
    a digest."""

    def __init__(self, key: bytes, sender: str = "") -> None:
        self._key = key
        self._sender = sender or self._digest("installation")
        self._fields: BoundedDict[tuple[str, bool, str], bytes] = BoundedDict(FIELDS_MAX)

    def field(self, context: MessageContext, account_id: str) -> bytes:
        """The field, with its CRLF: the list or else the stream, the tenant, and the account."""
        key = (context.tenant_id, context.broadcast, context.list)
        if (found := self._fields.get(key)) is None:
            found = self._fields[key] = self._encode(context, account_id)
        return found

    def _encode(self, context: MessageContext, account_id: str) -> bytes:
        stream = "broadcast" if context.broadcast else "transactional"
        listed = self._digest("list", context.tenant_id, context.list) if context.list else stream
        tenant = self._digest("tenant", context.tenant_id)
        account = self._digest("account", account_id)
        return feedback_id.encode_field((listed, tenant, account), sender=self._sender)

    def _digest(self, *parts: str) -> str:
        return hmac.digest(self._key, "\0".join(parts).encode(), sha256)[:OCTETS].hex()
