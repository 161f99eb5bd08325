import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import downgrade, parser, submission
from mail.compose import ComposedMessage
from mail.downgrade import ConversionError

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HEAD = b"From: a@a.example\r\nDate: x\r\nMessage-ID: <1@a.example>\r\n"
WIRE = re.compile(rb"\A(?:[^\r\n\0]{0,998}\r\n)*\Z")
NESTED = (
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="m"\r\n\r\npreamble\r\n--m\r\n'
    + b'Content-Type: multipart/alternative; boundary="a"\r\n\r\n--a\r\n'
    + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    + b"%b\r\n--a\r\n"
    + b"Content-Type: text/html\r\n\r\n<p>kept  as it is</p>\r\n--a--\r\n--m\r\n"
    + b"Content-Type: image/x\r\n\r\n%b\r\n--m--\r\n"
)


def prepare(data: bytes) -> ComposedMessage:
    return submission.prepare(data, date=NOW, message_id="1@a.example")


def test_a_message_that_fits_is_unchanged() -> None:
    composed = prepare(HEAD + b"\r\nplain\r\n")
    assert downgrade.downgrade(composed) is composed
    high = prepare(HEAD + b"\r\ngr\xc3\xbcn\r\n")
    assert downgrade.downgrade(high, eight_bit=True) is high


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=100))
def test_8_bit_text_becomes_7_bit_without_loss(text: str) -> None:
    head = HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
    composed = prepare(head + text.encode() + b"\xc3\xbc" + b"x" * 2000)
    out = downgrade.downgrade(composed)
    assert WIRE.match(out.as_bytes())
    assert out.as_bytes().isascii()
    decoded = parser.parse_entity(out.as_bytes()).text().replace("\r\n", "\n")
    assert decoded == text + "ü" + "x" * 2000 + "\n"


def test_a_two_megabyte_line_is_encoded() -> None:
    out = downgrade.downgrade(prepare(HEAD + b"\r\n" + b"y" * 2_000_000), eight_bit=True)
    assert WIRE.match(out.as_bytes())
    assert parser.parse_entity(out.as_bytes()).content().rstrip() == b"y" * 2_000_000


def test_only_parts_that_need_it_change() -> None:
    out = downgrade.downgrade(prepare(HEAD + NESTED % ("grün und gut".encode(), b"\x80" * 40)))
    assert WIRE.match(out.as_bytes())
    assert out.as_bytes().isascii()
    mixed = parser.parse_entity(out.as_bytes())
    alternative, image = parser.parts(mixed)
    plain, html = parser.parts(alternative)
    assert plain.text().rstrip() == "grün und gut"
    assert plain.get("content-transfer-encoding") == "quoted-printable"
    assert html.body == b"<p>kept  as it is</p>"
    assert html.get("content-transfer-encoding") == ""
    assert image.content() == b"\x80" * 40


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("Subject: Grüße", "Grüße"),
        (
            'To: "Grün, Jürgen" <j@b.example>, x@c.example',
            "Grün, Jürgen <j@b.example>, x@c.example",
        ),
        ("X-Note: " + "word " * 400, ("word " * 400).strip()),
    ],
)
def test_a_header_is_converted(field: str, expected: str) -> None:
    out = downgrade.downgrade(prepare(HEAD + field.encode() + b"\r\n\r\nx\r\n"))
    assert WIRE.match(out.as_bytes())
    assert out.as_bytes().isascii()
    name = field.partition(":")[0].lower()
    shown = parser.parse_entity(out.as_bytes()).get(name)
    assert " ".join(shown.replace(" ,", ",").split()) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n\r\n\xff\r\n--x--\r\n",
        b"Content-Type: message/rfc822\r\n\r\n\xff\r\n",
        b"Content-Transfer-Encoding: base64\r\n\r\n\xff\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n\xff\r\n",
        b"References: <" + b"x" * 1200 + b"@a.example>\r\n\r\n",
    ],
)
def test_a_message_that_cannot_be_converted_is_rejected(data: bytes) -> None:
    with pytest.raises(ConversionError):
        downgrade.downgrade(prepare(HEAD + data))


@given(st.binary(max_size=300))
def test_any_message_is_converted_or_rejected(data: bytes) -> None:
    composed = prepare(HEAD + b"\r\n" + data)
    out = downgrade.downgrade(composed)
    assert WIRE.match(out.as_bytes())
    assert out.as_bytes().isascii()
