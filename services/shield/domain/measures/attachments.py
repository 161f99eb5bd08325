"""Measures of attachments by type and name; by content only where a name can be wrong."""

import re
from io import BytesIO
from zipfile import BadZipFile, ZipFile

from contracts.ingest.v1.content_pb2 import Attachment
from services.shield.domain.measures.finding import NONE, Finding, Measure, NameLists, count_of
from services.shield.domain.parsing import ParsedMessage

ZIP = b"PK\x03\x04"
PROGRAM = (b"MZ", b"\x7fELF")  # Windows, Linux
ARCHIVE_BYTES_MAX = 4 << 20
DOCUMENTS = frozenset(
    {"pdf", "doc", "docx", "xls", "xlsx", "jpg", "jpeg", "png", "gif", "txt", "html", "zip"}
)
SPACES = re.compile(r"\s{5}\.")


def extension(name: str) -> str:
    return name.lower().rstrip(". ").rpartition(".")[2] if "." in name else ""


def attachment_program(message: ParsedMessage, lists: NameLists) -> Finding:
    """Executable files, by name or by their first bytes."""
    risky = lists.among("programs")
    return count_of(
        [
            each.filename or each.content_type
            for each in message.attachments
            if extension(each.filename) in risky or each.content.startswith(PROGRAM)
        ]
    )


def attachment_macro(message: ParsedMessage, lists: NameLists) -> Finding:
    return with_extension(message, lists.among("macro_documents"))


def attachment_html(message: ParsedMessage, lists: NameLists) -> Finding:
    """HTML files: a form that no link measure sees."""
    return with_extension(message, lists.among("pages"))


def attachment_image_only(message: ParsedMessage, lists: NameLists) -> Finding:
    """An image with few words."""
    few = message.longer_text.count(" ") < 40
    return with_extension(message, lists.among("images")) if few else NONE


def with_extension(message: ParsedMessage, extensions: frozenset[str]) -> Finding:
    names = [each.filename for each in message.attachments]
    return count_of([name for name in names if extension(name) in extensions])


def attachment_double_extension(message: ParsedMessage, lists: NameLists) -> Finding:
    """A double extension such as invoice.pdf.exe, or an extension behind many spaces."""
    return count_of(
        [a.filename for a in message.attachments if has_double_extension(a.filename, lists)]
    )


def has_double_extension(name: str, lists: NameLists) -> bool:
    front, _, last = name.lower().rpartition(".")
    hides = extension(front) in DOCUMENTS and last in lists.among("programs")
    return hides or bool(SPACES.search(name))


def attachment_archived_program(message: ParsedMessage, lists: NameLists) -> Finding:
    """A program inside a ZIP file."""
    return count_of(
        [
            f"{name} in {each.filename}"
            for each in message.attachments
            if each.content.startswith(ZIP)
            for name in zip_members(each)
            if extension(name) in lists.among("programs")
        ]
    )


def zip_members(attachment: Attachment) -> list[str]:
    """The names in a ZIP file; none if it is broken or large."""
    if len(attachment.content) > ARCHIVE_BYTES_MAX:
        return []
    try:
        return ZipFile(BytesIO(attachment.content)).namelist()[:1000]
    except (BadZipFile, ValueError, OSError, NotImplementedError, EOFError):
        return []


def has_attachments(message: ParsedMessage, _: NameLists) -> bool:
    return bool(message.attachments)


MEASURES: dict[str, Measure] = {
    each.__name__: each
    for each in (
        attachment_program,
        attachment_macro,
        attachment_html,
        attachment_image_only,
        attachment_double_extension,
        attachment_archived_program,
    )
}
NEEDS = dict.fromkeys(MEASURES, has_attachments)
