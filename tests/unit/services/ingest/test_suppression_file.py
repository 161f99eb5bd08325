"""What a file of suppressions may say, and how an export is read back."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.ids import creation_time_of
from kernel.times import FIRST
from services.ingest.domain import suppression_file
from services.ingest.domain.csv_records import CsvError, CsvReader
from services.ingest.domain.suppression_file import (
    COLUMNS,
    FORMULA,
    LineFailure,
    NewSuppression,
    SuppressionFile,
    read_line,
    suppression_id,
    unguarded,
    write_rows,
)

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
IMPORT = "01890000-0000-7000-8000-000000000000"
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def read(octets: bytes) -> list[NewSuppression | LineFailure]:
    file = SuppressionFile()
    return [read_line(line, NOW) for line in [*file.feed(octets), *file.close()]]


def emails(octets: bytes) -> list[str]:
    return [one.email for one in read(octets) if isinstance(one, NewSuppression)]


@pytest.mark.parametrize(
    "octets",
    [
        b"ann@x.example\nbob@x.example\n",
        b"email\nann@x.example\nbob@x.example",
        b"\xef\xbb\xbfEmail\r\nann@x.example\r\nbob@x.example\r\n",
        b"created,E-Mail,reason\n1,ann@x.example,bad\n2,bob@x.example,\n",
        b"Email Address;x,recipient\n,ann@x.example\n,bob@x.example\n",
        b"ann@x.example,manual,\nbob@x.example,bounce,2026-01-01T00:00:00Z,,,\n",
        b'"ann@x.example"\n"Bob <bob@x.example>"\n',
    ],
)
def test_files_of_many_programs_are_read(octets: bytes) -> None:
    assert emails(octets) == ["ann@x.example", "bob@x.example"]


def test_columns_have_any_order_and_others_are_ignored() -> None:
    file = SuppressionFile()
    lines = file.feed(b"status,origin,email,created_at\n9,Bounce,a@x.example,2026-01-02\n")
    assert (file.ignored_columns, file.lines) == (["status"], 1)
    created_at = datetime(2026, 1, 2, tzinfo=UTC)
    assert read_line(lines[0], NOW) == NewSuppression(2, "a@x.example", "bounce", created_at)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"a@@x.example,,", "Invalid address"),
        (b",,", "Invalid address"),
        (b"a@x.example,spam,", "Unknown origin spam. Use one of manual, bounce"),
        (b"a@x.example,,yesterday", "Invalid created_at: it is not an ISO 8601 time."),
        (b"a@x.example,,2026-11-30", "Invalid created_at: it is in the future."),
        (b"a@x.example,,,more", "The line has 4 fields, but there are 3 columns."),
    ],
)
def test_a_line_that_cannot_be_added_has_its_problem_in_words(line: bytes, problem: str) -> None:
    [found] = read(b"email,origin,created_at\n" + line)
    assert isinstance(found, LineFailure)
    assert (found.line, found.email) == (2, line.partition(b",")[0].decode())
    assert found.problem.startswith(problem)


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


def moment_of(milliseconds: int) -> datetime:
    return FIRST + timedelta(milliseconds=milliseconds)


LOCAL = st.from_regex(r"[a-zA-Z0-9=+'!#$%&*/?^_`{|}~-]{1,10}", fullmatch=True)
SUPPRESSIONS = st.lists(
    st.tuples(
        LOCAL.map("{}@x.example".format) | LOCAL.map("{}@b\u00fccher.example".format),
        st.sampled_from(["manual", "bounce", "complaint", "unsubscribe"]),
        st.integers(0, int(NOW.timestamp() * 1000)).map(moment_of),
    ),
    max_size=10,
)


@given(SUPPRESSIONS)
def test_an_export_is_read_back(exported: list[tuple[str, str, datetime]]) -> None:
    rows = [(email, origin, at.isoformat()) for email, origin, at in exported]
    found = read(write_rows([COLUMNS, *rows]))
    expected = [
        (
            email.replace("b\u00fccher", "xn--bcher-kva"),
            origin,
            at,
        )
        for email, origin, at in exported
    ]
    assert [one[1:] for one in found if isinstance(one, NewSuppression)] == expected


def test_a_line_has_the_same_id_again_with_its_time() -> None:
    new = NewSuppression(7, "a@x.example", "manual", datetime(2020, 5, 17, tzinfo=UTC))
    made = {suppression_id(IMPORT, new, NOW) for _ in range(2)}
    assert len(made) == 1
    assert creation_time_of(UUID(made.pop())) == new.created_at
    other = new._replace(line=8, created_at=None)
    assert creation_time_of(UUID(suppression_id(IMPORT, other, NOW))) == NOW
    assert suppression_id(IMPORT, other, NOW) != suppression_id(IMPORT, other, NOW + timedelta(1))
