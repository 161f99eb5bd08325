"""File names: their media types, and characters that they must not contain."""

import pytest

from mail.mime import Attachment, MimeError, attachment_part, media_type_of


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("invoice.pdf", "application/pdf"),
        ("photo.JPG", "image/jpeg"),
        ("notes.txt", "text/plain"),
        ("table.csv", "text/csv"),
        ("archive.tar.gz", "application/octet-stream"),
        ("no-suffix", "application/octet-stream"),
        ("", "application/octet-stream"),
        ("data:image/png,x", "application/octet-stream"),
        ("a" * 100_000 + ".pdf", "application/pdf"),
    ],
)
def test_the_type_of_a_file_follows_from_its_name(filename: str, expected: str) -> None:
    assert media_type_of(filename) == expected


@pytest.mark.parametrize("hidden", ["\u202e", "\u2066", "\u202a", "\u2029", "\x85", "\ufeff", "\n"])
def test_a_file_name_cannot_disguise_its_type(hidden: str) -> None:
    with pytest.raises(MimeError, match="control character"):
        attachment_part(Attachment(f"photo{hidden}gpj.exe", b"x"), b"s")


@pytest.mark.parametrize(
    "name", ["\u05d7\u05e9\u05d1\u05d5\u05df\u200f.pdf", "🩷.png", "नि\u200dम.txt"]
)
def test_a_file_name_can_be_in_any_script(name: str) -> None:
    assert attachment_part(Attachment(name, b"x"), b"s").headers
