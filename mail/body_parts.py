"""What a person reads in a message: text, html and attachments (RFC 2045, RFC 2046, RFC 2183)."""

from typing import NamedTuple

from mail import parser
from mail.mime import Attachment
from mail.parser import Entity

ATTACHMENTS_MAX = 100


class BodyParts(NamedTuple):
    """text, html: all parts of that type, joined; empty if there is none. fields: the other fields
    of the header, as (name, value) in their order."""

    text: str
    html: str
    attachments: tuple[Attachment, ...]
    fields: tuple[tuple[str, str], ...]


# Composed from parts of an email, or about the encoding of the body.
_STANDARD = frozenset(
    (
        "from", "to", "cc", "reply-to", "subject", "date", "message-id", "mime-version",
        "content-type", "content-transfer-encoding", "content-disposition",
    )
)  # fmt: skip


def read_parts(raw: bytes) -> BodyParts:
    """Parse any message; nothing is raised for a malformed one."""
    message = parser.parse_entity(raw)
    found: dict[str, list[str]] = {"text/plain": [], "text/html": []}
    attachments: list[Attachment] = []
    for part in parser.walk(message):
        kind = part.content_type[0]
        if kind.startswith("multipart/"):
            continue
        if kind in found and not is_attachment(part):
            found[kind].append(_valid(part.text()))
        elif len(attachments) < ATTACHMENTS_MAX:
            content_id = _valid(part.get("content-id").strip("<> ")) or None
            name = _valid(part.filename)
            attachments.append(Attachment(name, part.content(), _valid(kind), content_id))
    fields = tuple(
        (name, _valid(parser.text_of(value)))
        for name, value in message.fields
        if name not in _STANDARD
    )
    text, html = ("\n".join(texts) for texts in found.values())
    return BodyParts(text, html, tuple(attachments), fields)


def _valid(text: str) -> str:
    """The text without lone surrogates, which some charsets produce."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def is_attachment(part: Entity) -> bool:
    """Whether a part is a file, and not what a person reads first. A named part that is to be
    displayed inline (RFC 2183 §2.1) is read, unless another part refers to it (RFC 2392)."""
    disposition = part.get("content-disposition").partition(";")[0].strip().lower()
    shown = disposition == "inline" and not part.get("content-id")
    return disposition == "attachment" or (bool(part.filename) and not shown)
