"""CSV is read as it arrives, however it is cut; what is wrong is named with its line."""

import csv
import io
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain.csv_records import RECORD_BYTES_MAX, CsvError, CsvReader

FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=20)
ROWS = st.lists(st.lists(FIELD, min_size=1, max_size=4).filter(any), max_size=20)


def read(octets: bytes, cuts: Sequence[int] = ()) -> list[list[str]]:
    return [fields for _, fields in read_with_lines(octets, cuts)]


def read_with_lines(octets: bytes, cuts: Sequence[int] = ()) -> list[tuple[int, list[str]]]:
    reader = CsvReader()
    edges = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    found = [one for start, end in pairwise(edges) for one in reader.feed(octets[start:end])]
    return [tuple(one) for one in [*found, *reader.close()]]  # type: ignore[misc]


def written(rows: Sequence[Sequence[str]], end: str = "\r\n") -> bytes:
    text = io.StringIO()
    # Python quotes only the characters of its own line end.
    if "\r" in end:
        csv.writer(text).writerows(rows)
    else:
        csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode()


@given(ROWS, st.lists(st.integers(0, 10_000), max_size=10), st.sampled_from(["\n", "\r\n"]))
def test_what_other_programs_write_is_read_however_it_is_cut(
    rows: list[list[str]], cuts: list[int], end: str
) -> None:
    octets = written(rows, end)
    assert read(octets, cuts) == rows
    assert read(b"\xef\xbb\xbf" + octets, cuts) == rows
    assert read(octets.removesuffix(end.encode()), cuts) == rows


def test_lines_are_numbered_as_an_editor_does() -> None:
    octets = b'a\n\n"b\nc",d\r\n\r\ne\n'
    assert read_with_lines(octets) == [(1, ["a"]), (3, ["b\nc", "d"]), (6, ["e"])]


@pytest.mark.parametrize(
    ("octets", "line", "words"),
    [
        (b"a\nb\n\xfc\n", 3, "not UTF-8"),
        (b"a\nb\0c\n", 2, "NUL"),
        (b'a\nb\n"c\nd\n', 3, "not closed"),
        (b'a\n"b"c\n', 2, "valid CSV"),
        (b'a\nb"c\nd\n', 2, "not closed"),
        (b'a\nb"c,"d\ne",f"g\n', 2, "valid CSV"),
        (b'a\nb"c\nd"\n', 2, "valid CSV"),
        (b"a\rb\rc\n", 1, "LF or CRLF"),
        (b"a\n" + b"b" * 10_000_000, 2, "longer than 64 KB"),
        (b"a\n" + b"b" * 70_000 + b"\n", 2, "longer than 64 KB"),
        (b'a\n"' + b"b\n" * 1_000_000, 2, "not closed"),
        (b'a\n"' + b"\n" * 1_000_000, 2, "not closed"),
        ("a\nb\n".encode("utf-16"), 1, "UTF-16"),
        ("a\nb\n".encode("utf-16-be"), 1, "NUL"),
        (b"\x1f\x8b\x08" + bytes(100_000), 1, "gzip"),
        (b"PK\x03\x04\x14" + bytes(1_000), 1, "spreadsheet"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_line(
    octets: bytes, line: int, words: str
) -> None:
    for cuts in ((), tuple(range(0, len(octets), 65_536))):
        with pytest.raises(CsvError, match=words) as refused:
            read(octets, cuts)
        assert refused.value.line == line
        assert str(refused.value).startswith(f"Line {line}: ")


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_other_octets_are_refused_in_words(octets: bytes, cuts: list[int]) -> None:
    line = 1
    try:
        read(octets, cuts)
    except CsvError as error:
        line = error.line
    assert 1 <= line <= octets.count(b"\n") + 1


def test_a_reader_holds_no_more_than_a_record() -> None:
    reader = CsvReader()
    for _ in range(100):
        assert len(reader.feed(b"a,b\n" * 1_000 + b"c")) == 1_000
        assert len(reader._rest) <= RECORD_BYTES_MAX
        assert reader._open == []
