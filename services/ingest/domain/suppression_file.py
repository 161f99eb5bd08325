"""Suppressions as CSV: the columns, and what a line may say."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from kernel import ids, times
from kernel.csv_rows import unguarded
from mail import address
from mail.address import AddressError
from services.ingest.domain.csv_records import CsvError, CsvReader, CsvRecord
from services.ingest.domain.email import ListName
from services.ingest.domain.patterns import LINE
from services.ingest.domain.pointers import problem_of

LINES_MAX = 1_000_000
COLUMNS = ("email", "origin", "reason", "list", "note", "expires_at", "created_at")
FAILURE_COLUMNS = ("line", "email", "problem")
# As other services name the column of addresses in their exports.
EMAIL_NAMES = frozenset(
    ("email", "e-mail", "email address", "email_address", "address", "recipient")
)
ORIGINS = {
    "": "manual",
    "manual": "manual",
    "bounce": "bounce",
    "hard_bounce": "bounce",
    "complaint": "complaint",
    "unsubscribe": "unsubscribe",
}
Reason = Annotated[str, Meta(max_length=100, pattern=LINE)]
Note = Annotated[str, Meta(max_length=1_000, pattern=LINE)]
EMAIL_CHARS_MAX = 320  # of an address in a result
NO_HEADER = (
    "It does not begin with an address, and does not name the columns either. Begin the file with "
    f"a line of names: {', '.join(COLUMNS)}."
)


class SuppressionFileLine(msgspec.Struct, array_like=True, frozen=True):
    """A line of a file. values: in the order of COLUMNS, empty where the file has none. problem:
    why it cannot be read."""

    line: int
    values: list[str]
    problem: str = ""


class FreeTextFields(msgspec.Struct, frozen=True):
    """The fields that are free text, within the bounds of the API."""

    reason: Reason = ""
    list: ListName | None = None
    note: Note = ""


class ImportedSuppression(NamedTuple):
    """What a line says, valid. expires_at: None for never. created_at: None for now."""

    line: int
    email: str
    origin: str
    texts: FreeTextFields = FreeTextFields()
    expires_at: datetime | None = None
    created_at: datetime | None = None


class FailedLine(msgspec.Struct, array_like=True, frozen=True):
    """A line that was not added, and why."""

    line: int
    email: str
    problem: str


class SuppressionFileReader:
    """Reads a file as it arrives. The first line may name the columns, in any order; without that
    they are COLUMNS. Unknown columns are ignored."""

    def __init__(self) -> None:
        self._reader = CsvReader()
        self._places: list[int | None] | None = None  # of COLUMNS in a record
        self._width = 0
        self.ignored_columns: list[str] = []
        self.lines = 0

    def feed(self, octets: bytes) -> list[SuppressionFileLine]:
        """Raises CsvError."""
        return self._read(self._reader.feed(octets))

    def close(self) -> list[SuppressionFileLine]:
        """Raises CsvError."""
        found = self._read(self._reader.close())
        if self._places is None:
            raise CsvError(1, "The file is empty.")
        return found

    def _read(self, records: Sequence[CsvRecord]) -> list[SuppressionFileLine]:
        if records and self._places is None:
            records = records[1:] if self._read_header(records[0]) else records
        self.lines += len(records)
        if self.lines > LINES_MAX:
            extra = records[LINES_MAX - self.lines]
            raise CsvError(extra.line, f"The file has more than {LINES_MAX:,} addresses. Split it.")
        return [self._line(record) for record in records]

    def _read_header(self, first: CsvRecord) -> bool:
        """Whether the first record names the columns. Raises CsvError."""
        names = [column_of(field) for field in first.fields]
        if "email" not in names:
            if not is_address(unguarded(first.fields[0])):
                raise CsvError(first.line, NO_HEADER)
            self._places, self._width = list(range(len(COLUMNS))), len(COLUMNS)
            return False
        known = [name for name in names if name in COLUMNS]
        if len(set(known)) < len(known):
            raise CsvError(first.line, "The first line names a column twice.")
        self._places = [names.index(name) if name in names else None for name in COLUMNS]
        self._width = len(names)
        self.ignored_columns = [name[:100] for name in names if name and name not in COLUMNS][:50]
        return True

    def _line(self, record: CsvRecord) -> SuppressionFileLine:
        fields = [unguarded(field) for field in record.fields]
        found = [
            fields[place] if place is not None and place < len(fields) else ""
            for place in self._places or ()
        ]
        problem = ""
        if any(fields[self._width :]):
            problem = f"The line has {len(fields)} fields, but there are {self._width} columns."
        return SuppressionFileLine(record.line, found, problem)


def column_of(field: str) -> str:
    name = unguarded(field).strip().lower()
    return "email" if name in EMAIL_NAMES else name


def read_line(line: SuppressionFileLine, now: datetime) -> ImportedSuppression | FailedLine:
    """What a line says, or why it cannot be added."""
    given = dict(zip(COLUMNS, line.values, strict=True))
    try:
        if line.problem:
            raise ValueError(line.problem)
        return ImportedSuppression(
            line.line,
            canonical(given["email"]),
            origin_of(given["origin"]),
            texts_of(given),
            expires_at=time_of(given, "expires_at", after=now),
            created_at=time_of(given, "created_at", until=now),
        )
    except ValueError as error:
        return FailedLine(line.line, given["email"][:EMAIL_CHARS_MAX], str(error))


def is_address(text: str) -> bool:
    try:
        return bool(canonical(text))
    except ValueError:
        return False


def canonical(email: str) -> str:
    """Raises ValueError."""
    try:
        return address.canonical(address.parse_mailbox(email)).address
    except AddressError as error:
        raise ValueError(f"Invalid address: {error}.") from None


def origin_of(text: str) -> str:
    """Raises ValueError."""
    if (origin := ORIGINS.get(text.strip().lower())) is None:
        known = ", ".join(name for name in ORIGINS if name)
        raise ValueError(f"Unknown origin {text[:50]}. Use one of {known}.")
    return origin


def texts_of(given: Mapping[str, str]) -> FreeTextFields:
    """Raises ValueError."""
    found = {
        name: text for name in FreeTextFields.__struct_fields__ if (text := given[name].strip())
    }
    try:
        return msgspec.convert(found, FreeTextFields)
    except msgspec.ValidationError as error:
        raise ValueError(problem_of(error).detail) from None


def time_of(
    given: Mapping[str, str],
    column: str,
    *,
    after: datetime = times.FIRST,
    until: datetime = times.LAST,
) -> datetime | None:
    """None for an empty text. Raises ValueError."""
    text = given[column].strip()
    if not text:
        return None
    try:
        moment = times.parse_time(text)
    except ValueError as error:
        raise ValueError(f"Invalid {column}: {error}.") from None
    if moment > until:
        raise ValueError(f"Invalid {column}: it is in the future.")
    if moment < after:
        raise ValueError(f"Invalid {column}: it is in the past.")
    return moment


def suppression_id(import_id: str, new: ImportedSuppression, default: datetime) -> str:
    """The id of what a line adds: always the same, so that a repeat finds its own. Its time is that
    of the suppression."""
    moment = new.created_at or default
    digest = sha256(f"{import_id} {new.line}".encode()).digest()
    return str(ids.uuid7_of(int(moment.timestamp() * 1000), digest))
