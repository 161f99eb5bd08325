"""Folding and conversion never corrupt a structured field, and no value injects another."""

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import downgrade, headers, mime, parser, submission
from mail.address import AddressError, Mailbox
from mail.downgrade import ConversionError
from mail.headers import HeaderError
from mail.mime import Attachment

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HEAD = "From: a@a.example\r\nDate: x\r\nMessage-ID: <1@a.example>\r\n"
WIRE = re.compile(rb"\A(?:[^\r\n\0]{0,998}\r\n)*\Z")
EVIL = st.text(max_size=40) | st.text(st.sampled_from('ab@.<>"\\ \t\r\n\0:;,é=?'), max_size=30)


def fitted(field: str) -> bytes:
    data = f"{HEAD}{field}\r\n\r\nx\r\n".encode()
    out = downgrade.downgrade(
        submission.prepare(data, date=NOW, message_id="1@a.example")
    ).as_bytes()
    assert WIRE.match(out)
    assert out.isascii()
    return out


@pytest.mark.parametrize(
    ("field", "key", "expected"),
    [
        ('Content-Type: application/pdf; name="März.pdf"', "name", "März.pdf"),
        ('Content-Disposition: attachment; filename="März.pdf"', "filename", "März.pdf"),
        (f'Content-Type: text/plain; charset=utf-8; name="{"é" * 200}"', "name", "é" * 200),
        ('Content-Type: multipart/mixed; boundary="=_a?=\'b"; x="é"', "boundary", "=_a?='b"),
    ],
)
def test_only_a_non_ascii_parameter_is_converted(field: str, key: str, expected: str) -> None:
    out, name = fitted(field), field.partition(":")[0].lower()
    kind, given_ = parser.parse_parameters(parser.parse_entity(out).get(name))
    assert kind == field.partition(";")[0].partition(" ")[2]
    assert given_[key] == expected
    theirs = message_from_bytes(out, policy=policy.default)[name]
    assert theirs.params[key] == expected


def test_a_long_address_list_is_folded_between_addresses() -> None:
    many = [f"user{n}@example.com" for n in range(200)]
    out = fitted("Cc: " + ",".join(many))
    parsed = message_from_bytes(out, policy=policy.default)
    assert [one.addr_spec for one in parsed["cc"].addresses] == many


@pytest.mark.parametrize(
    "field",
    [
        "To: jürgen@x.example",
        "To: Größe: a@b.example;",
        "DKIM-Signature: v=1; b=" + "A" * 1200,
        "Received: from " + "a" * 1200,
        "Content-Type: text/plain; x=" + "A" * 1200,
        "Content-Type: é",
        "Content-ID: <ä@b.example>",
        "Authentication-Results: ü",
    ],
)
def test_a_field_that_cannot_be_converted_is_rejected(field: str) -> None:
    with pytest.raises(ConversionError):
        fitted(field)


def test_only_the_phrase_of_a_list_id_is_encoded() -> None:
    for out in (fitted("List-Id: Größe <l.a.example>"),
                headers.custom_field("List-Id", "Größe <l.a.example>")):  # fmt: skip
        assert b"?= <l.a.example>\r\n" in out
    with pytest.raises(HeaderError):
        headers.custom_field("List-Id", "<größe.example>")
    with pytest.raises(HeaderError):
        headers.custom_field("List-Id", "ü\r\nBcc: x <l.a.example>")


@given(EVIL, EVIL, EVIL)
def test_a_forged_mailbox_cannot_inject_a_header(name: str, local: str, domain: str) -> None:
    try:
        line = headers.address_list_field("To", [Mailbox(name, local, domain)])
    except ValueError:
        return
    assert len(parser.parse_entity(line + b"\r\n").fields) == 1
    assert WIRE.match(line)


@pytest.mark.parametrize("local", ["a\r\nBcc: x", "a>, <b", "a b", 'a"b', "", '"a\x00"', "a\x85b"])
def test_a_forged_local_part_is_rejected(local: str) -> None:
    with pytest.raises(AddressError, match="cannot be in a header"):
        headers.address_list_field("To", [Mailbox("", local, "b.example")])


def test_a_file_keeps_its_parameters() -> None:
    kind = 'text/calendar; charset=utf-8; method="REQUEST"; name=other.ics; boundary=x'
    head = b"".join(mime.attachment_part(Attachment("i.ics", b"x", kind), b"s").headers)
    read = parser.parse_entity(head + b"\r\n")
    assert read.content_type == (
        "text/calendar", {"charset": "utf-8", "method": "REQUEST", "name": "i.ics"}
    )  # fmt: skip
    assert read.filename == "i.ics"


def test_a_non_ascii_boundary_is_rejected() -> None:
    body = 'Content-Type: multipart/mixed; boundary="ü"\r\n\r\n--ü\r\n\r\né\r\n--ü--\r\n'
    with pytest.raises(ConversionError, match="boundary"):
        downgrade.downgrade(
            submission.prepare((HEAD + body).encode(), date=NOW, message_id="1@a.example")
        )
