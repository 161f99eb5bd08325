from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import headers, parser
from mail.headers import HeaderError

TEXT = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=300)


@given(TEXT)
def test_a_subject_round_trips_in_two_parsers(text: str) -> None:
    line = headers.text_field("Subject", text)
    assert line.isascii()
    assert all(len(part) <= 998 for part in line.split(b"\r\n"))
    shown = text.strip(" \t")
    assert parser.parse_entity(line + b"\r\n").get("subject") == shown
    if "=?" not in text and "  " not in text:
        parsed = message_from_bytes(line + b"\r\n", policy=policy.default)
        assert str(parsed["subject"]) == shown


@given(st.text(max_size=200), st.text(max_size=40))
def test_no_name_or_value_can_inject_a_header(value: str, name: str) -> None:
    try:
        line = headers.custom_field(name, value)
    except HeaderError:
        return
    assert len(parser.parse_entity(line + b"\r\n").fields) == 1


@pytest.mark.parametrize(
    "name",
    ["Bcc", "from", "DKIM-Signature", "ARC-Seal", "Resent-To", "Content-Type", "Received", "a b",
     "", "Authentication-Results", "received-spf", "Delivered-To", "DomainKey-Signature",
     "Original-Recipient", "BIMI-Indicator", "ARC-Authentication-Results", "Return-Path",
     "X:Y", "X\r\nBcc", "Ünicode"],
)  # fmt: skip
def test_the_engines_own_headers_cannot_be_set(name: str) -> None:
    with pytest.raises(HeaderError):
        headers.custom_field(name, "x")


@pytest.mark.parametrize("value", ["a\r\nBcc: x", "a\nb", "a\rb", "a\0b", "a\x85b", "a\u2028b"])
def test_a_line_break_in_a_value_is_rejected(value: str) -> None:
    with pytest.raises(HeaderError, match="line break"):
        headers.custom_field("X-Tag", value)


def test_control_characters_in_a_subject_become_spaces_and_line_breaks_are_rejected() -> None:
    assert headers.text_field("Subject", "a\x07b\u2028c") == b"Subject: a b c\r\n"
    for bad in ("a\nb", "=?x\r\nb", "a\0b"):
        with pytest.raises(HeaderError):
            headers.text_field("Subject", bad)


def test_message_ids_are_folded_only_between_each_other() -> None:
    ids = " ".join(f"<{'x' * 40}.{n}@host.example>" for n in range(30))
    line = headers.encode_field("References", ids)
    assert headers.unfold(line).strip() == b"References: " + ids.encode()
    assert max(map(len, line.split(b"\r\n"))) <= 78


def test_a_reference_that_cannot_be_folded_is_rejected() -> None:
    with pytest.raises(HeaderError, match="longer than 998"):
        headers.encode_field("References", f"<{'x' * 1100}@host.example>")


def test_an_endless_word_in_an_unstructured_field_is_encoded() -> None:
    line = headers.encode_field("X-Note", "y" * 3000)
    assert max(map(len, line.split(b"\r\n"))) <= 76
    assert parser.parse_entity(line + b"\r\n").get("x-note") == "y" * 3000


def test_a_message_id_is_one_id() -> None:
    assert headers.message_id_field("a.b@c.example") == b"Message-ID: <a.b@c.example>\r\n"
    for bad in ("a", "a b@c", "a@b\r\nX: y", "<a@b> <c@d>"):
        with pytest.raises(HeaderError):
            headers.message_id_field(bad)


@pytest.mark.parametrize(
    "own",
    ["<x@their.domain>", "<a.b+c/d=e_f@h>", "<20.1@[192.0.2.1]>", "<'!#$%&*?^`{|}~-@a-b.c>"],
)
def test_a_customers_message_id_is_unchanged(own: str) -> None:
    assert headers.custom_field("message-ID", f" {own} ") == f"Message-ID: {own}\r\n".encode()


@pytest.mark.parametrize(
    "bad",
    [
        "", "x@a.example", "<x>", "<@a.example>", "<x@>", "<x@a@b>", "<x@a.example> <y@a.example>",
        "<x y@a.example>", "<.x@a.example>", "<x.@a.example>", "<x@a..example>", "<x>y@a.example>",
        '<"x"@a.example>', "<x@a.example>\r\nBcc: b@a.example", "<x@a.example>\n", "<é@a.example>",
        "<x@[a]b]>", "(c)<x@a.example>", f"<{'x' * 900}@a.example>",
    ],
)  # fmt: skip
def test_an_invalid_message_id_is_rejected_with_a_reason(bad: str) -> None:
    with pytest.raises(HeaderError, match="Message-ID is not of the form"):
        headers.custom_field("Message-ID", bad)


def test_a_date_needs_a_time_zone() -> None:
    moment = datetime(2026, 11, 3, 4, 5, 6, tzinfo=UTC)
    assert headers.date_field(moment) == b"Date: Tue, 03 Nov 2026 04:05:06 +0000\r\n"
    east = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert headers.date_field(east) == b"Date: Tue, 03 Nov 2026 09:35:06 +0530\r\n"
    with pytest.raises(HeaderError):
        headers.date_field(moment.replace(tzinfo=None))
