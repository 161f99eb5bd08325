import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import mail_merge, parser
from mail.address import parse_mailbox
from mail.compose import Email
from mail.headers import message_id_field
from mail.mime import MimeError

WIRE = re.compile(rb"\A(?:[^\r\n\0]{0,76}\r\n)*\Z")
TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Co"], exclude_characters="\r"), max_size=160
)
VALUE = st.text(st.characters(exclude_categories=["Cs", "Co", "Cc"]), max_size=120)


def email(text: str | None = None, html: str | None = None, subject: str = "x") -> Email:
    return Email(from_=parse_mailbox("a@a.example"), subject=subject, text=text, html=html)


@given(TEXT, VALUE, TEXT, VALUE, TEXT)
def test_each_recipient_gets_their_own_values(a: str, v: str, b: str, w: str, c: str) -> None:
    marked = f"{a}{mail_merge.slot(0)}{b}{mail_merge.slot(1)}{c}{mail_merge.slot(0)}"
    composed = mail_merge.compile_template(email(text="same for all", html=marked)).render([v, w])
    assert WIRE.match(composed.body)
    parts = parser.parts(parser.parse_entity(composed.as_bytes()))
    assert parts[0].text() == "same for all\r\n"
    assert parts[1].text().replace("\r\n", "\n") == f"{a}{v}{b}{w}{c}{v}\n"


def test_recipients_share_the_fixed_parts() -> None:
    prepared = mail_merge.compile_template(email(html="<p>é</p>" * 500 + mail_merge.slot(3)))
    composed = prepared.render(
        ["", "", "", "https://t.example/o/1"], message_id_field("1@a.example")
    )
    assert composed.headers[0] == b"Message-ID: <1@a.example>\r\n"
    assert b"https://t.example/o/1=\r\n" in composed.body


def test_a_message_without_slots_is_composed_as_usual() -> None:
    prepared = mail_merge.compile_template(email(text="plain"))
    assert prepared.order == ()
    assert prepared.render([]).body == b"plain\r\n"


def test_a_slot_is_inside_a_line_of_text_only() -> None:
    with pytest.raises(MimeError, match="header"):
        mail_merge.compile_template(email(subject=f"x{mail_merge.slot(0)}"))
    with pytest.raises(MimeError, match="line break"):
        mail_merge.compile_template(email(text=mail_merge.slot(0))).render(["a\nb"])
    with pytest.raises(ValueError, match="slots"):
        mail_merge.slot(5000)
    assert mail_merge.has_slot(mail_merge.slot(7))
