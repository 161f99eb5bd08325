"""CSV from strangers (RFC 4180), read as it arrives: octets in, records with their lines out."""

import csv
from collections.abc import Iterator, Sequence
from typing import NamedTuple

RECORD_BYTES_MAX = 64 * 1024  # an unclosed quote must not swallow the rest of a file
BOM = "\ufeff"
OTHER_FORMATS = {
    b"\x1f\x8b": "The file is compressed with gzip. Send it without compression.",
    b"PK\x03\x04": "The file is a spreadsheet or a ZIP archive. Save it as CSV.",
    b"\xff\xfe": "The file is UTF-16. Save it as UTF-8.",
    b"\xfe\xff": "The file is UTF-16. Save it as UTF-8.",
}
TOO_LONG = f"The line is longer than {RECORD_BYTES_MAX // 1024} KB."
UNCLOSED = "A quoted field begins here and is not closed."
MALFORMED = (
    "The line is not valid CSV. Quote a field that has a quote or a line end, write a quote in it "
    "twice, and end lines with LF or CRLF."
)


class CsvError(ValueError):
    """A file that cannot be read. line: where, from 1."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(f"Line {line}: {detail}")
        self.line = line


class CsvRecord(NamedTuple):
    """A record. line: the number of its first line, since a quoted field may have line ends."""

    line: int
    fields: list[str]


class CsvReader:
    """Reads UTF-8, with or without a byte order mark; lines end with LF or CRLF. Blank lines are
    skipped. It holds no more than one record and what was fed last."""

    def __init__(self) -> None:
        self._rest = b""  # of a line that is not complete
        self._lines = 0  # complete ones so far
        self._open: list[str] = []  # lines of a record in whose quoted field a line has ended
        self._open_chars = 0

    def feed(self, octets: bytes) -> list[CsvRecord]:
        """The records that are complete now. Raises CsvError."""
        block, end, self._rest = (self._rest + octets).rpartition(b"\n")
        found = self._read(block) if end else []
        if len(self._rest) > RECORD_BYTES_MAX:
            self._check_format(self._rest)
            raise CsvError(self._lines + 1, TOO_LONG)
        return found

    def close(self) -> list[CsvRecord]:
        """The last record, if no line end follows it. Raises CsvError."""
        found = self._read(self._rest) if self._rest else []
        if self._open:
            raise CsvError(self._first_line, UNCLOSED)
        return found

    def _read(self, block: bytes) -> list[CsvRecord]:
        """block: complete lines, without the last line end."""
        self._check_format(block)
        records = list(self._records(self._decode(block).split("\n")))
        return parse_records(records)

    def _check_format(self, first: bytes) -> None:
        for magic, detail in OTHER_FORMATS.items():
            if self._lines == 0 and first.startswith(magic):
                raise CsvError(1, detail)

    def _decode(self, block: bytes) -> str:
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError as error:
            line = self._lines + block.count(b"\n", 0, error.start) + 1
            raise CsvError(line, "The line is not UTF-8.") from None
        if "\0" in text:
            line = self._lines + text.count("\n", 0, text.index("\0")) + 1
            raise CsvError(line, "The line contains NUL.")
        return text if self._lines else text.removeprefix(BOM)

    def _records(self, lines: Sequence[str]) -> Iterator[tuple[int, str]]:
        """The texts of records with the numbers of their first lines. A line end is inside a quoted
        field where the number of quotes before it in the record is odd."""
        for line in lines:
            self._lines += 1
            odd = line.count('"') % 2 == 1
            if self._open or odd:
                self._open.append(line)
                self._open_chars += len(line) + 1
            if max(self._open_chars, len(line)) > RECORD_BYTES_MAX:
                raise CsvError(self._first_line, UNCLOSED if self._open_chars else TOO_LONG)
            if not self._open:
                yield self._lines, line
            elif odd and len(self._open) > 1:
                yield self._first_line, "\n".join(self._open)
                self._open, self._open_chars = [], 0

    @property
    def _first_line(self) -> int:
        """Of the record that was read last."""
        return self._lines - max(len(self._open) - 1, 0)


def parse_records(records: Sequence[tuple[int, str]]) -> list[CsvRecord]:
    """Without blank lines. Raises CsvError."""
    reader = csv.reader([text for _, text in records], strict=True)
    found: list[CsvRecord] = []
    parsed = 0
    try:
        for (line, _), fields in zip(records, reader, strict=False):
            if reader.line_num != parsed + 1:  # a quote has opened that hides the end of the record
                raise CsvError(line, MALFORMED)
            parsed += 1
            if fields:
                found.append(CsvRecord(line, fields))
    except csv.Error:
        raise CsvError(records[parsed][0], MALFORMED) from None
    return found
