"""The media type of a file that comes without one."""

import pytest

from mail.mime import type_of


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
def test_the_name_of_a_file_says_its_type(filename: str, expected: str) -> None:
    assert type_of(filename) == expected
