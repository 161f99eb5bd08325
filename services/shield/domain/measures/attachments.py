"""Attachments by type and name; their bytes only where a name could lie."""

import re
from io import BytesIO
from zipfile import BadZipFile, ZipFile

from contracts.ingest.v1.content_pb2 import Attachment
from services.shield.domain.measures.finding import NONE, Finding, Measure, Terms, counted
from services.shield.domain.reading import Reading

ZIP = b"PK\x03\x04"
PROGRAM = (b"MZ", b"\x7fELF")  # Windows, Linux
ARCHIVE_BYTES_MAX = 4 << 20
DOCUMENTS = frozenset(
    {"pdf", "doc", "docx", "xls", "xlsx", "jpg", "jpeg", "png", "gif", "txt", "html", "zip"}
)
SPACES = re.compile(r"\s{5}\.")


def extension(name: str) -> str:
    return name.lower().rstrip(". ").rpartition(".")[2] if "." in name else ""


def attachment_program(reading: Reading, terms: Terms) -> Finding:
    """What runs when it is opened, by name or by its first bytes."""
    risky = terms.among("programs")
    return counted(
        [
            each.filename or each.content_type
            for each in reading.attachments
            if extension(each.filename) in risky or each.content.startswith(PROGRAM)
        ]
    )


def attachment_macro(reading: Reading, terms: Terms) -> Finding:
    return named(reading, terms.among("macro_documents"))


def attachment_page(reading: Reading, terms: Terms) -> Finding:
    """An HTML file: a form that no link check sees."""
    return named(reading, terms.among("pages"))


def attachment_image(reading: Reading, terms: Terms) -> Finding:
    """An image beside few words."""
    few = reading.words.count(" ") < 40
    return named(reading, terms.among("images")) if few else NONE


def named(reading: Reading, extensions: frozenset[str]) -> Finding:
    names = [each.filename for each in reading.attachments]
    return counted([name for name in names if extension(name) in extensions])


def attachment_double(reading: Reading, terms: Terms) -> Finding:
    """invoice.pdf.exe, or the true end pushed out of sight."""
    return counted([a.filename for a in reading.attachments if doubled(a.filename, terms)])


def doubled(name: str, terms: Terms) -> bool:
    front, _, last = name.lower().rpartition(".")
    hides = extension(front) in DOCUMENTS and last in terms.among("programs")
    return hides or bool(SPACES.search(name))


def attachment_archived_program(reading: Reading, terms: Terms) -> Finding:
    """A program inside a ZIP file."""
    return counted(
        [
            f"{name} in {each.filename}"
            for each in reading.attachments
            if each.content.startswith(ZIP)
            for name in members(each)
            if extension(name) in terms.among("programs")
        ]
    )


def members(attachment: Attachment) -> list[str]:
    """The names in a ZIP file; of a broken or a large one, none."""
    if len(attachment.content) > ARCHIVE_BYTES_MAX:
        return []
    try:
        return ZipFile(BytesIO(attachment.content)).namelist()[:1000]
    except (BadZipFile, ValueError, OSError, NotImplementedError, EOFError):
        return []


def has_attachments(reading: Reading, _: Terms) -> bool:
    return bool(reading.attachments)


MEASURES: dict[str, Measure] = {
    each.__name__: each
    for each in (
        attachment_program,
        attachment_macro,
        attachment_page,
        attachment_image,
        attachment_double,
        attachment_archived_program,
    )
}
NEEDS = dict.fromkeys(MEASURES, has_attachments)
