"""What a file of suppressions may say, and how an export is read back."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.csv_rows import FORMULA, unguarded, write_rows
from kernel.ids import creation_time_of
from kernel.times import FIRST, LAST
from services.ingest.domain import suppression_file
from services.ingest.domain.csv_records import CsvError, CsvReader
from services.ingest.domain.suppression_file import (
    COLUMNS,
    FailedLine,
    FreeTextFields,
    ImportedSuppression,
    SuppressionFileReader,
    read_line,
    suppression_id,
)

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
IMPORT = "01890000-0000-7000-8000-000000000000"
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def read(octets: bytes) -> list[ImportedSuppression | FailedLine]:
    file = SuppressionFileReader()
    return [read_line(line, NOW) for line in [*file.feed(octets), *file.close()]]


def emails(octets: bytes) -> list[str]:
    return [one.email for one in read(octets) if isinstance(one, ImportedSuppression)]


@pytest.mark.parametrize(
    "octets",
    [
        b"ann@x.example\nbob@x.example\n",
        b"email\nann@x.example\nbob@x.example",
        b"\xef\xbb\xbfEmail\r\nann@x.example\r\nbob@x.example\r\n",
        b"created,E-Mail,reason\n1,ann@x.example,bad\n2,bob@x.example,\n",
        b"Email Address;x,recipient\n,ann@x.example\n,bob@x.example\n",
        b"ann@x.example,manual,\nbob@x.example,bounce,,,,,2026-01-01T00:00:00Z,,,\n",
        b'"ann@x.example"\n"Bob <bob@x.example>"\n',
    ],
)
def test_files_of_many_programs_are_read(octets: bytes) -> None:
    assert emails(octets) == ["ann@x.example", "bob@x.example"]


def test_columns_have_any_order_and_others_are_ignored() -> None:
    file = SuppressionFileReader()
    lines = file.feed(
        b"status,Origin,email,created_at,note,expires_at,list,reason\n"
        b"9,Bounce,a@x.example,2026-01-02,'=no longer here,2027-01-02T00:00:00Z,weekly,bad_domain\n"
    )
    assert (file.ignored_columns, file.lines) == (["status"], 1)
    assert read_line(lines[0], NOW) == ImportedSuppression(
        2, "a@x.example", "bounce", FreeTextFields("bad_domain", "weekly", "=no longer here"),
        expires_at=datetime(2027, 1, 2, tzinfo=UTC), created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"a@@x.example", "Invalid address"),
        (b",,", "Invalid address"),
        (b"a@x.example,spam", "Unknown origin spam. Use one of manual, bounce"),
        (b"a@x.example,,,,,,yesterday", "Invalid created_at: it is not an ISO 8601 time."),
        (b"a@x.example,,,,,,2026-11-30", "Invalid created_at: it is in the future."),
        (b"a@x.example,,,,,2026-11-28", "Invalid expires_at: it is in the past."),
        (b"a@x.example,,,,,,,more", "The line has 8 fields, but there are 7 columns."),
        (b"a@x.example,,," + b"x" * 201, "list: "),
        (b"a@x.example,," + b"x" * 101, "reason: "),
        (b"a@x.example,,,," + b"x" * 1_001, "note: "),
        (b'a@x.example,,,,"a\nb"', "note: Use one line of text"),
        ("a@x.example,,,ma\u00f1ana".encode(), "list: Use 1 to 200 printable ASCII"),
    ],
)
def test_a_line_that_cannot_be_added_has_its_problem_in_words(line: bytes, problem: str) -> None:
    [found] = read(",".join(COLUMNS).encode() + b"\n" + line)
    assert isinstance(found, FailedLine)
    assert (found.line, found.email) == (2, line.partition(b",")[0].decode())
    assert found.problem.startswith(problem), found.problem


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b'{"emails": ["a@x.example"]}', "does not begin with an address"),
        (b"<html><a href='mailto:a@x.example'>a@x.example</a>", "does not begin with an address"),
        (b"%PDF-1.4\n", "does not begin with an address"),
        (b"name,origin\n", "does not begin with an address"),
        (b"email,address\n", "a column twice"),
        (b"email,list,list\n", "a column twice"),
    ],
)
def test_a_file_of_something_else_is_refused(octets: bytes, words: str) -> None:
    with pytest.raises(CsvError, match=words):
        read(octets)


def test_a_file_of_names_alone_has_no_lines() -> None:
    assert read(b"email,origin,created_at\r\n") == []


def test_a_file_has_a_limited_number_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suppression_file, "LINES_MAX", 3)
    assert len(read(b"email\n" + b"a@x.example\n" * 3)) == 3
    with pytest.raises(CsvError, match="more than 3 addresses") as refused:
        read(b"email\n\n" + b"a@x.example\n" * 5)
    assert refused.value.line == 6


@given(st.lists(st.lists(TEXT, min_size=1, max_size=4).filter(any), max_size=10))
def test_fields_are_no_formulas_and_are_read_back(rows: list[list[str]]) -> None:
    reader = CsvReader()
    found = [*reader.feed(write_rows(rows)), *reader.close()]
    fields = [field for record in found for field in record.fields]
    assert not [field for field in fields if field.startswith(FORMULA) and field[0] != "'"]
    assert [[unguarded(field) for field in record.fields] for record in found] == rows


def moments(first: datetime, last: datetime) -> st.SearchStrategy[datetime | None]:
    """To the millisecond, as the API shows them."""
    count = (last - first) // timedelta(milliseconds=1)
    return st.none() | st.integers(0, count).map(lambda n: first + timedelta(milliseconds=n))


LOCAL = st.from_regex(r"[a-zA-Z0-9=+'!#$%&*/?^_`{|}~-]{1,10}", fullmatch=True)
LINE = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=30)
SUPPRESSIONS = st.builds(
    ImportedSuppression,
    st.just(2),
    st.builds("{}@{}.example".format, LOCAL, st.sampled_from(["x", "xn--bcher-kva"])),
    st.sampled_from(["manual", "bounce", "complaint", "unsubscribe"]),
    st.builds(
        FreeTextFields,
        LINE.map(str.strip),
        st.none() | st.from_regex(r"[!-~]([ -~]{0,10}[!-~])?", fullmatch=True),
        LINE.map(str.strip),
    ),
    expires_at=moments(NOW, LAST),
    created_at=moments(FIRST, NOW),
)


@given(SUPPRESSIONS)
def test_an_export_is_read_back(one: ImportedSuppression) -> None:
    times = [moment.isoformat() if moment else "" for moment in (one.expires_at, one.created_at)]
    row = [one.email, one.origin, one.texts.reason, one.texts.list or "", one.texts.note, *times]
    assert read(write_rows([COLUMNS, row])) == [one]


def test_a_line_has_the_same_id_again_with_its_time() -> None:
    new = ImportedSuppression(
        7, "a@x.example", "manual", created_at=datetime(2020, 5, 17, tzinfo=UTC)
    )
    made = {suppression_id(IMPORT, new, NOW) for _ in range(2)}
    assert len(made) == 1
    assert creation_time_of(UUID(made.pop())) == new.created_at
    other = new._replace(line=8, created_at=None)
    assert creation_time_of(UUID(suppression_id(IMPORT, other, NOW))) == NOW
    assert suppression_id(IMPORT, other, NOW) != suppression_id(IMPORT, other, NOW + timedelta(1))
