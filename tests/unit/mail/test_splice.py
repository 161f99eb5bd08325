"""Messages that are composed once and differ between recipients in slots."""

import re
from base64 import b64encode
from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mail import parser
from mail.address import parse_mailbox
from mail.compose import Email
from mail.dkim_canonicalization import relaxed_body
from mail.smtp import dot_unstuff
from mail.splice import SlottedBody, SlottedText, compose_slotted, encode_value

WIRE = re.compile(rb"\A(?:[^\r\n\0]{0,76}\r\n)*\Z")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=160)
VALUE = st.text(st.sampled_from("AZaz09-_"), min_size=1, max_size=200)


def email(text: str | None = None, html: str | None = None) -> Email:
    return Email(from_=parse_mailbox("a@a.example"), subject="x", text=text, html=html)


def spliced(html: SlottedText[str], plain: SlottedText[str]) -> SlottedBody[str]:
    composed = compose_slotted(email("", ""), plain=plain, html=html)
    body = SlottedBody.of(composed.body, (*plain.keys, *html.keys))
    head = b"".join((*composed.headers, b"\r\n"))
    return SlottedBody(
        (head + body.wire[0], *body.wire[1:]), body.canonical, body.size, body.keys, body.hashed
    )


@given(TEXT, VALUE, TEXT, VALUE, TEXT)
@example(".", "a", "", "-", "From me \n.")
@example("", "a", " ", "b", "")
@example("\x01", "a", "\n\x01\n", "b", "=01\n")
@example("a  \n", "a", "\t \n\n", "b", "\n\n\n")
def test_each_recipient_gets_their_own_values(a: str, v: str, b: str, w: str, c: str) -> None:
    html = SlottedText((a, b, c, ""), ("v", "w", "v"))
    body = spliced(html, SlottedText((c, a), ("w",)))
    values = {"v": v, "w": w}
    filled = body.fill([values[key] for key in body.keys])
    assert WIRE.match(filled.wire)
    raw = dot_unstuff(filled.wire)
    first, second = parser.parts(parser.parse_entity(raw))
    text = f"{c}{w}{a}"
    closed = text if text.endswith("\n") else f"{text}\n"
    assert first.text().replace("\r\n", "\n") == closed
    assert second.text().replace("\r\n", "\n") == f"{a}{v}{b}{w}{c}{v}\n"
    sent = raw.partition(b"\r\n\r\n")[2]
    assert filled.body_hash == b64encode(sha256(relaxed_body(sent)).digest())
    assert body.size + filled.added == len(sent)


@given(TEXT, TEXT, VALUE)
def test_the_messages_of_two_recipients_differ_in_their_values_only(
    a: str, b: str, value: str
) -> None:
    body = spliced(SlottedText((a, b), ("v",)), SlottedText(("x",)))
    ours, theirs = encode_value(value), encode_value("Z" * len(value))
    one, other = body.fill([value]), body.fill(["Z" * len(value)])
    assert one.wire.count(ours) >= 1
    assert other.wire == theirs.join((body.wire[0], body.wire[1]))
    assert one.wire == ours.join((body.wire[0], body.wire[1]))


def test_a_part_without_slots_is_composed_as_usual() -> None:
    composed = compose_slotted(email("own", None), plain=SlottedText(("plain",)), html=None)
    assert composed.body == b"plain\r\n"


def test_a_value_is_not_encoded_and_so_has_only_characters_of_tokens() -> None:
    with pytest.raises(ValueError, match="ascii"):
        encode_value("é")
