"""Read a corpus of labelled mail (`*.jsonl.zst`) into Content.

A line is `{id, label, sub, split, raw}`; `raw.encode("latin-1")` is the message (see the README of
the corpus). The corpus is not part of this repository: callers pass its folder.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.header import decode_header
from email.message import Message
from pathlib import Path

import zstandard

from contracts.ingest.v1.content_pb2 import Attachment, Content, Header

BAD = frozenset({"spam", "phish"})
MAIL = BAD | {"ham"}
# Clients never send these fields: the engine writes them.
OURS = frozenset({"from", "to", "cc", "bcc", "subject", "reply-to", "date", "message-id"})
EVALUATION_ONLY = "phishing_pot"


@dataclass(frozen=True, slots=True)
class Sample:
    id: str
    label: str
    file: str
    sub: str  # part of the file
    split: str  # train, test, or - if the file is not split
    content: Content

    @property
    def bad(self) -> bool:
        return self.label in BAD


def samples(folder: Path, *, but: str = "") -> Iterator[Sample]:
    """Every ham, spam and phish message in `folder`, except for files with `but` in their name."""
    for path in sorted(folder.glob("*.jsonl.zst")):
        if not but or but not in path.name:
            yield from read_pack(path)


def read_pack(path: Path) -> Iterator[Sample]:
    """The ham, spam and phish messages of one file."""
    file = path.name.removesuffix(".jsonl.zst")
    for row in rows(path):
        if row["label"] in MAIL:
            parsed = content(row["raw"].encode("latin-1"))
            sub = row.get("sub") or file
            yield Sample(row["id"], row["label"], file, sub, row.get("split", "-"), parsed)


def rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open("rb") as packed:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(packed), "utf-8"):
            yield json.loads(line)


def content(raw: bytes) -> Content:
    """The fields that a client would have sent to make this message."""
    message = message_from_bytes(raw, policy=policy.compat32)
    parsed = Content(subject=field(message, "Subject"))
    setattr(parsed, "from", field(message, "From"))
    parsed.to.extend(field(message, name) for name in ("To",) if message[name])
    parsed.reply_to.extend(field(message, name) for name in ("Reply-To",) if message[name])
    for name in dict.fromkeys(message.keys()):
        if name.lower() not in OURS and not name.lower().startswith(("content-", "mime-")):
            parsed.headers.append(Header(name=name, value=field(message, name)))
    for part in message.walk():
        if not part.is_multipart():
            add(parsed, part)
    return parsed


def add(parsed: Content, part: Message) -> None:
    name = part.get_filename()
    kind = part.get_content_type()
    payload = part.get_payload(decode=True)
    body = payload if isinstance(payload, bytes) else b""
    file = part.get_content_disposition() == "attachment" or (name and not shown(part))
    if kind in {"text/plain", "text/html"} and not file:
        slot = kind.removeprefix("text/").replace("plain", "text")
        setattr(parsed, slot, getattr(parsed, slot) + decode_text(body, part.get_content_charset()))
    else:
        parsed.attachments.append(
            Attachment(filename=clean(name or ""), content_type=clean(kind), content=body)
        )


def shown(part: Message) -> bool:
    """Whether a named part is part of the body all the same."""
    return part.get_content_disposition() == "inline"


def field(message: Message, name: str) -> str:
    """An unfolded header field, with its encoded-words (RFC 2047) decoded."""
    value = str(message[name] or "")
    try:
        pieces = decode_header(value)
    except ValueError:  # invalid base64
        pieces = [(value, None)]
    words = (p if isinstance(p, str) else decode_text(p, c) for p, c in pieces)
    return " ".join("".join(words).split())


def decode_text(body: bytes, charset: str | None) -> str:
    try:
        return clean(body.decode(charset or "utf-8", "replace"))
    except LookupError:  # unknown charset
        return clean(body.decode("latin-1"))


def clean(text: str) -> str:
    """Replace lone surrogates, which protobuf strings cannot contain."""
    return text.encode("utf-8", "replace").decode("utf-8")
