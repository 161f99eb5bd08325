"""Feedback-ID: the field by which Google counts complaints of a sender's mail, in Postmaster Tools.

`a:b:c:SenderId`. Complaints are counted by each of the first three identifiers and by the last one,
which is the same in all mail of a sending service. Source: support.google.com/mail/answer/6254652;
for other receivers it is an optional field (RFC 5322 §3.6.8).
"""

import re

NAME = b"feedback-id"
SENDER = re.compile(r"[A-Za-z0-9._-]{5,15}")
_IDENTIFIER = re.compile(r"[A-Za-z0-9._-]{1,40}")


def encode_field(identifiers: tuple[str, str, str], *, sender: str) -> bytes:
    """The field with its CRLF. sender: matches SENDER. Raises ValueError."""
    if not (SENDER.fullmatch(sender) and all(map(_IDENTIFIER.fullmatch, identifiers))):
        raise ValueError("an identifier of Feedback-ID is not valid")
    return f"Feedback-ID: {':'.join((*identifiers, sender))}\r\n".encode("ascii")
