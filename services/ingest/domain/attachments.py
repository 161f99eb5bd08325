"""Attachments as clients send them: base64, numbers, or Node's Buffer."""

import binascii
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec

from contracts.ingest.v1.content_pb2 import Attachment as StoredAttachment
from mail import mime
from services.ingest.domain.email import Attachment, Strict
from services.ingest.domain.problem import Fault

NEITHER = "content is neither base64 nor a list of octets, 0 to 255"
PIECE_OCTETS = 64 * 1024  # of JSON; read whole, numbers take the processor from all for seconds


class Buffer(Strict, rename={"kind": "type"}):
    """How JSON.stringify writes a Buffer of Node."""

    kind: Literal["Buffer"]
    data: msgspec.Raw


_text_of = msgspec.json.Decoder(str).decode
_buffer_of = msgspec.json.Decoder(Buffer).decode
_numbers_of = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0, le=255)]]).decode


def files(given: Sequence[Attachment], faults: list[Fault]) -> Iterator[StoredAttachment]:
    """The files; what is wrong with one is added to the faults."""
    for index, item in enumerate(given):
        try:
            file = StoredAttachment(
                filename=item.filename,
                content_type=item.content_type or mime.type_of(item.filename),
                content=octets(item.content),
                content_id=(item.content_id or "").strip("<>"),
            )
            _check(file)
        except ValueError as error:
            detail = f"attachments[{index}] ({item.filename[:80]}): {error}"
            faults.append(Fault(f"#/attachments/{index}", "invalid_attachment", detail))
        else:
            yield file


def octets(content: msgspec.Raw | bytes) -> bytes:
    """bytes come from gRPC. Raises ValueError."""
    if isinstance(content, bytes):
        return content
    json = memoryview(content)
    try:
        if json[:1] == b'"':
            return _base64(_text_of(json))
        data = json if json[:1] == b"[" else memoryview(_buffer_of(json).data)
        if data[:1] != b"[":
            raise ValueError(NEITHER)
        return b"".join(map(bytes, map(_numbers_of, _pieces(data[1:-1]))))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError(NEITHER) from None


def _base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except binascii.Error as error:
        raise ValueError(f"content is not base64: {error}") from None


def _pieces(numbers: memoryview) -> Iterator[bytes]:
    """A long list as short ones. numbers: valid JSON, without the brackets."""
    while len(numbers) > PIECE_OCTETS:
        end = bytes(numbers[:PIECE_OCTETS]).rfind(b",")
        if end < 0:
            raise ValueError("content has more white space than octets")
        yield b"".join((b"[", numbers[:end], b"]"))
        numbers = numbers[end + 1 :]
    yield b"".join((b"[", numbers, b"]"))


def _check(file: StoredAttachment) -> None:
    """What composing would refuse later is refused now."""
    mime.attachment(
        mime.Attachment(file.filename, b"", file.content_type, file.content_id or None), b"x"
    )
