"""Attachments as clients send them: base64, numbers, or Node's Buffer."""

import binascii
from collections.abc import Iterator, Sequence

from contracts.ingest.v1.content_pb2 import Attachment as StoredAttachment
from mail import mime
from services.ingest.domain.email import Attachment, Buffer
from services.ingest.domain.problem import Fault

NUMBERS_MAX = 1024 * 1024  # octets as numbers cost thirty times their size


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


def octets(content: str | list[int] | Buffer | bytes) -> bytes:
    """bytes come from gRPC. Raises ValueError."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        try:
            return binascii.a2b_base64("".join(content.split()), strict_mode=True)
        except binascii.Error as error:
            raise ValueError(f"content is not base64: {error}") from None
    numbers = content.data if isinstance(content, Buffer) else content
    if len(numbers) > NUMBERS_MAX:
        raise ValueError("content as numbers may have 1 MB at most: send it as base64")
    return bytes(numbers)


def _check(file: StoredAttachment) -> None:
    """What composing would refuse later is refused now."""
    mime.attachment(
        mime.Attachment(file.filename, b"", file.content_type, file.content_id or None), b"x"
    )
