"""Attachments in the forms that clients send: base64, lists of numbers, Node's Buffer."""

import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from contracts.ingest.v1.content_pb2 import Attachment as StoredAttachment
from mail import mime, parser
from mail.reachable import Network, url_problem
from services.ingest.domain.email import Attachment, RequestModel
from services.ingest.domain.problem import Fault

INVALID_CONTENT = "content is neither base64 nor a list of numbers from 0 to 255"
NOT_ENABLED = "Attachments by path are not enabled. Send content."
SINGLE_ONLY = "Attachments by path are supported by POST /v1/emails only. Send content."
FILENAME_MAX = 255
# of JSON; decoding all numbers at once would block other threads for seconds
PIECE_OCTETS = 64 * 1024


class NodeJsBuffer(RequestModel, rename={"kind": "type"}):
    """A Node Buffer as JSON.stringify writes it."""

    kind: Literal["Buffer"]
    data: msgspec.Raw


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """refused: the reason if fetching is disabled. allowed: networks besides public ones."""

    refused: str = NOT_ENABLED
    allowed: tuple[Network, ...] = ()


FETCH_DISABLED = FetchPolicy()

_text_of = msgspec.json.Decoder(str).decode
_buffer_of = msgspec.json.Decoder(NodeJsBuffer).decode
_numbers_of = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0, le=255)]]).decode


def decode_attachments(
    given: Sequence[Attachment], faults: list[Fault], fetch_policy: FetchPolicy = FETCH_DISABLED
) -> Iterator[StoredAttachment]:
    """The files; those given by path are still empty. Errors are added to faults."""
    for index, item in enumerate(given):
        if found := list(_missing(index, item)):
            faults += found
            continue
        try:
            if item.path is not None:
                _check_path(item, fetch_policy)
            file = StoredAttachment(
                filename=item.filename or "",
                content_type=item.content_type or mime.media_type_of(item.filename or ""),
                content=decode_content(item.content) if item.path is None else b"",
                content_id=(item.content_id or "").strip("<>"),
            )
            _check(file)
        except InvalidPath as error:
            faults.append(path_fault(index, str(error)))
        except ValueError as error:
            detail = f"attachments[{index}] ({(item.filename or '')[:80]}): {error}"
            faults.append(Fault(f"#/attachments/{index}", "invalid_attachment", detail))
        else:
            yield file


class InvalidPath(ValueError):
    """An attachment cannot be fetched from its path."""


def path_fault(index: int, why: str) -> Fault:
    detail = f"attachments[{index}].path: {why}"
    return Fault(f"#/attachments/{index}/path", "invalid_attachment", detail)


def _missing(index: int, item: Attachment) -> Iterator[Fault]:
    there = {"filename": bool(item.filename), "content": not _is_unset(item.content)}
    for name in there if item.path is None else ():
        if not there[name]:
            detail = f"The field {name} is missing."
            yield Fault(f"#/attachments/{index}/{name}", "missing_required_field", detail)


def _is_unset(content: msgspec.Raw | bytes) -> bool:
    """True if the JSON has no such field. Empty bytes, which come over gRPC, are a file."""
    return isinstance(content, msgspec.Raw) and not memoryview(content).nbytes


def _check_path(item: Attachment, fetch_policy: FetchPolicy) -> None:
    """Raises InvalidPath."""
    if fetch_policy.refused:
        raise InvalidPath(fetch_policy.refused)
    if not _is_unset(item.content):
        raise InvalidPath("The attachment has both content and path. Send one of them.")
    if problem := url_problem(item.path or "", fetch_policy.allowed):
        raise InvalidPath(problem)


def fetched_file(
    given: Attachment, content: bytes, *, content_type: str, disposition: str
) -> StoredAttachment:
    """The file of a path. The request, then the response, then the URL give its name and type."""
    filename = (
        given.filename
        or _name_in_disposition(disposition)
        or _name_in_url(given.path or "")
        or "attachment"
    )
    named = mime.media_type_of(filename)
    for kind in (given.content_type or content_type or named, named):
        file = StoredAttachment(
            filename=filename,
            content_type=kind,
            content=content,
            content_id=(given.content_id or "").strip("<>"),
        )
        try:
            _check(file)
        except ValueError:
            continue
        break
    return file


def _name_in_disposition(disposition: str) -> str:
    """The filename of a Content-Disposition (RFC 6266)."""
    return _base_name(parser.parse_parameters(disposition)[1].get("filename", ""))


def _name_in_url(url: str) -> str:
    return _base_name(unquote(urlsplit(url).path))


def _base_name(name: str) -> str:
    """The name without folders and unprintable characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(filter(str.isprintable, last))[-FILENAME_MAX:].strip()


def decode_content(content: msgspec.Raw | bytes) -> bytes:
    """content: bytes from gRPC, JSON from REST. Raises ValueError."""
    if isinstance(content, bytes):
        return content
    json = memoryview(content)
    try:
        if json[:1] == b'"':
            return _base64(_text_of(json))
        data = json if json[:1] == b"[" else memoryview(_buffer_of(json).data)
        if data[:1] != b"[":
            raise ValueError(INVALID_CONTENT)
        return b"".join(map(bytes, map(_numbers_of, _pieces(data[1:-1]))))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError(INVALID_CONTENT) from None


def _base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except binascii.Error as error:
        raise ValueError(f"content is not base64: {error}") from None


def _pieces(numbers: memoryview) -> Iterator[bytes]:
    """Split a long list. numbers: valid JSON without the brackets."""
    while len(numbers) > PIECE_OCTETS:
        end = bytes(numbers[:PIECE_OCTETS]).rfind(b",")
        if end < 0:
            raise ValueError("content has more white space than octets")
        yield b"".join((b"[", numbers[:end], b"]"))
        numbers = numbers[end + 1 :]
    yield b"".join((b"[", numbers, b"]"))


def _check(file: StoredAttachment) -> None:
    """Raises ValueError if composing the message would fail later."""
    mime.attachment_part(
        mime.Attachment(file.filename, b"", file.content_type, file.content_id or None), b"x"
    )
