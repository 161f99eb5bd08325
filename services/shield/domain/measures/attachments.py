"""Attachments by type and name; their bytes only where a name could lie."""

import re
from io import BytesIO
from zipfile import BadZipFile, ZipFile

from contracts.ingest.v1.content_pb2 import Attachment
from services.shield.domain.features import MessageFeatures
from services.shield.domain.measures.finding import NONE, Finding, Measure, WordLists, count_of

ZIP = b"PK\x03\x04"
PROGRAM = (b"MZ", b"\x7fELF")  # Windows, Linux
ARCHIVE_BYTES_MAX = 4 << 20
DOCUMENTS = frozenset(
    {"pdf", "doc", "docx", "xls", "xlsx", "jpg", "jpeg", "png", "gif", "txt", "html", "zip"}
)
SPACES = re.compile(r"\s{5}\.")


def extension(name: str) -> str:
    return name.lower().rstrip(". ").rpartition(".")[2] if "." in name else ""


def attachment_program(features: MessageFeatures, lists: WordLists) -> Finding:
    """What runs when it is opened, by name or by its first bytes."""
    risky = lists.among("programs")
    return count_of(
        [
            each.filename or each.content_type
            for each in features.attachments
            if extension(each.filename) in risky or each.content.startswith(PROGRAM)
        ]
    )


def attachment_macro(features: MessageFeatures, lists: WordLists) -> Finding:
    return named(features, lists.among("macro_documents"))


def attachment_page(features: MessageFeatures, lists: WordLists) -> Finding:
    """An HTML file: a form that no link check sees."""
    return named(features, lists.among("pages"))


def attachment_image(features: MessageFeatures, lists: WordLists) -> Finding:
    """An image beside few words."""
    few = features.words.count(" ") < 40
    return named(features, lists.among("images")) if few else NONE


def named(features: MessageFeatures, extensions: frozenset[str]) -> Finding:
    names = [each.filename for each in features.attachments]
    return count_of([name for name in names if extension(name) in extensions])


def attachment_double(features: MessageFeatures, lists: WordLists) -> Finding:
    """invoice.pdf.exe, or the true end pushed out of sight."""
    return count_of(
        [a.filename for a in features.attachments if has_double_extension(a.filename, lists)]
    )


def has_double_extension(name: str, lists: WordLists) -> bool:
    front, _, last = name.lower().rpartition(".")
    hides = extension(front) in DOCUMENTS and last in lists.among("programs")
    return hides or bool(SPACES.search(name))


def attachment_archived_program(features: MessageFeatures, lists: WordLists) -> Finding:
    """A program inside a ZIP file."""
    return count_of(
        [
            f"{name} in {each.filename}"
            for each in features.attachments
            if each.content.startswith(ZIP)
            for name in members(each)
            if extension(name) in lists.among("programs")
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


def has_attachments(features: MessageFeatures, _: WordLists) -> bool:
    return bool(features.attachments)


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
