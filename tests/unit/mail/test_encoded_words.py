"""Non-ASCII names and subjects, as several mail clients display them."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.headerregistry import AddressHeader

import fast_mail_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import encoded_words, headers
from mail.address import Mailbox
from mail.compose import Email, compose

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LETTERS = st.characters(categories=["L"])
SHORT = st.text(LETTERS, min_size=1, max_size=4)
LONG = st.text(LETTERS, min_size=1, max_size=90)
NAME = st.lists(SHORT, min_size=1, max_size=30).map(" ".join)
TEXT = st.lists(SHORT | LONG, min_size=1, max_size=12).map(" ".join)


def composed(name: str, subject: str) -> bytes:
    box = Mailbox(name, "a", "b.example")
    return compose(Email(from_=box, to=(box,), subject=subject, date=NOW, text="x")).as_bytes()


@given(NAME)
def test_a_name_is_not_split_inside_a_word(name: str) -> None:
    """Python before 3.12 shows the white space between the encoded words of a name."""
    read = message_from_bytes(composed(name, "s"), policy=policy.default)["from"]

    assert isinstance(read, AddressHeader)
    assert read.addresses[0].display_name.split() == name.split()


@given(TEXT, TEXT)
def test_names_and_subjects_round_trip_in_two_parsers(name: str, subject: str) -> None:
    raw = composed(name, subject)
    python = message_from_bytes(raw)
    rust = fast_mail_parser.parse_email(raw)

    assert str(python["subject"] and make_header(decode_header(python["subject"]))) == subject
    assert rust.subject == subject
    sender = str(make_header(decode_header(python["from"])))
    assert sender.removesuffix(" <a@b.example>") == name


@given(NAME, st.integers(60, 75))
def test_words_of_ordinary_length_are_not_split(text: str, first: int) -> None:
    found = encoded_words.encode(text, first=first)
    decoded = [encoded_words.decode(word) for word in found]

    assert "".join(decoded) == text
    assert max(map(len, found)) <= 75
    assert len(found[0]) <= first
    assert [word for one in decoded for word in one.split()] == text.split()


@pytest.mark.parametrize(
    "text", ["größer " * 60, "x" * 3000 + "ü", "日本語" * 200, "ü" + " " * 300]
)
def test_encoded_text_is_folded_into_short_lines(text: str) -> None:
    for line in headers.text_field("Subject", text).split(b"\r\n"):
        assert len(line) <= 76
