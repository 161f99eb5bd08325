import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import parser, smtp, submission
from mail.submission import SubmissionError

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def prepare(data: bytes) -> bytes:
    return submission.prepare(data, date=NOW, message_id="1@a.example").as_bytes()


FULL = (
    b"From: a@a.example\r\nTo: b@b.example\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\n"
    b"Message-ID: <x@a.example>\r\nSubject:  odd\r\n\tfolding \r\n\r\nbody\r\n"
)


def test_a_complete_message_is_unchanged() -> None:
    assert prepare(FULL) == FULL


def test_bcc_is_removed_in_any_position_and_case() -> None:
    data = FULL.replace(
        b"To:", b"BCC : s1@c.example,\r\n s2@c.example\r\nResent-Bcc: s3@c.example\r\nTo:"
    )
    assert prepare(data) == FULL


def test_missing_date_and_message_id_are_added() -> None:
    out = prepare(b"From: a@a.example\n\nhi\n")
    assert b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\n" in out
    assert b"Message-ID: <1@a.example>\r\n" in out
    assert out.endswith(b"From: a@a.example\r\n\r\nhi\r\n")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no From"),
        (b"\r\nbody", "no From"),
        (b"To: b@b.example\r\n\r\n", "no From"),
        (b"From: a@a.example\r\nFrom: c@a.example\r\n\r\n", "more than one From"),
        (b"From: a@a.example\r\nhello\r\n\r\n", "not `Name: value`"),
        (b" folded: first\r\nFrom: a@a.example\r\n\r\n", "not `Name: value`"),
        (b"From: a@a.example\r\n \r\n\r\n", "empty folded line"),
        (b"From: a@a.example\r\nX: " + b"y" * 300_000, "longer than"),
    ],
)
def test_an_invalid_message_is_rejected(data: bytes, reason: str) -> None:
    with pytest.raises(SubmissionError, match=reason):
        prepare(data)


@given(st.binary(max_size=300))
def test_any_body_is_one_message_with_complete_lines(body: bytes) -> None:
    out = prepare(b"From: a@a.example\r\n\r\n" + body)
    assert re.fullmatch(rb"(?:[^\r\n\0]*\r\n)*", out)
    assert b"\r\n.\r\n" not in b"\r\n" + smtp.dot_stuff(out)


_LINES = st.sampled_from(
    [b"From: a@a.example", b"To : b@b.example", b"X:", b"x: 1 ", b"X:\t2:3", b"\tfolded ", b" x: y",
     b"bcc: c", b"no field", b" ", b"Y:\r", b":", "Ü: ü".encode(), b"Subject: \x1c\x85 z"]
)  # fmt: skip


@given(st.lists(_LINES, max_size=8), st.sampled_from([b"\r\n", b"\n"]), st.booleans())
def test_the_header_is_read_as_the_parser_reads_it(
    lines: list[bytes], line_end: bytes, has_body: bool
) -> None:
    raw = line_end.join([b"From: a@a.example", *lines, b"", b"body" if has_body else b""])
    normal = smtp.normalize_line_endings(raw)
    try:
        found = submission.parse_submitted(normal)
    except SubmissionError:
        return
    grouped: dict[bytes, list[bytes]] = {}
    for name, value in parser.parse_entity(normal).fields:
        grouped.setdefault(name.encode(), []).append(value)
    assert found.fields == grouped
    sent = parser.parse_entity(found.raw)
    assert {name for name, _ in sent.fields} == {name.decode() for name in grouped} - {"bcc"}
    assert sent.body == parser.parse_entity(normal).body
