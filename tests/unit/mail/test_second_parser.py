"""Composed messages round-trip in an independent parser, mailparse in Rust."""

import re
from datetime import UTC, datetime

import fast_mail_parser
from hypothesis import given
from hypothesis import strategies as st

from mail.address import Mailbox
from mail.compose import Attachment, Email, compose

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PRINTABLE = st.characters(exclude_categories=("C", "Z"))
# It takes `=?` for the beginning of an encoded word, as Python does, wherever it stands.
WORD = st.text(PRINTABLE, min_size=1, max_size=20).filter(lambda text: "=?" not in text)
PHRASE = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
LINE = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=300)
TEXT = st.lists(LINE, min_size=1, max_size=8).map("\n".join)
NAME = st.from_regex(r"[A-Za-z0-9éß☃_-]{1,30}\.[a-z]{3}", fullmatch=True)
FILE = st.builds(Attachment, NAME, st.binary(max_size=400), st.just("application/x-any"))
WIRE = re.compile(rb"\A(?:[^\r\n\0]{0,998}\r\n)*\Z")
SENDER = Mailbox("", "a", "b.example")


def read(email: Email, *, eight_bit: bool = False) -> fast_mail_parser.PyMail:
    composed = compose(email, eight_bit=eight_bit)
    assert eight_bit or composed.body.isascii()
    assert WIRE.match(composed.body)
    return fast_mail_parser.parse_email(b"".join((*composed.headers, b"\r\n", composed.body)))


def lines(text: str) -> str:
    return text.replace("\r\n", "\n").rstrip("\n")


@given(PHRASE)
def test_a_subject(subject: str) -> None:
    mail = read(Email(from_=SENDER, to=(SENDER,), subject=subject, date=NOW, text="x"))

    assert mail.subject == subject
    assert mail.date == "Mon, 23 Nov 2026 12:00:00 +0000"


@given(TEXT, TEXT, st.lists(FILE, max_size=3), st.booleans())
def test_texts_and_attachments(
    text: str, html: str, files: list[Attachment], eight_bit: bool
) -> None:
    mail = read(
        Email(
            from_=SENDER,
            to=(SENDER,),
            subject="s",
            date=NOW,
            text=text,
            html=html,
            attachments=tuple(files),
        ),
        eight_bit=eight_bit,
    )

    assert [lines(one) for one in mail.text_plain] == [lines(text)]
    assert [lines(one) for one in mail.text_html] == [lines(html)]
    assert [(one.filename, bytes(one.content)) for one in mail.attachments] == [
        (one.filename, one.content) for one in files
    ]


@given(TEXT)
def test_no_text_can_inject_a_field(text: str) -> None:
    """For any text the header has exactly the fields that we write."""
    mail = read(Email(from_=SENDER, to=(SENDER,), subject="s", date=NOW, text=text))

    known = {"Date", "From", "To", "Subject", "MIME-Version", "Content-Type"}
    assert known <= set(mail.headers) <= known | {"Content-Transfer-Encoding"}
    assert all(len(values) == 1 for values in mail.headers.values())


def test_eight_bits_are_used_if_allowed() -> None:
    email = Email(from_=SENDER, to=(SENDER,), subject="s", date=NOW, text="größer")

    assert b"8bit" in b"".join(compose(email, eight_bit=True).headers)
    assert "größer\r\n".encode() in compose(email, eight_bit=True).body
    assert compose(email).body.isascii()
