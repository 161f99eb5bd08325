from hypothesis import given
from hypothesis import strategies as st

from mail.address import parse_mailbox
from mail.body_parts import read_parts
from mail.compose import Attachment, Email, compose


def test_the_parts_of_a_composed_message_are_read_back() -> None:
    bill = Attachment("bill é.pdf", b"%PDF", "application/pdf")
    logo = Attachment("logo.png", b"png", "image/png", "logo")
    email = Email(
        parse_mailbox("a@a.example"), text="Grüße\n", html="<p>Grüße <img src=cid:logo></p>",
        attachments=(bill, logo), headers={"List-Id": "<list.a.example>"},
    )  # fmt: skip
    found = read_parts(compose(email).as_bytes())
    assert found.text.strip() == "Grüße"
    assert found.html.strip() == "<p>Grüße <img src=cid:logo></p>"
    assert sorted(found.attachments, key=lambda one: one.filename) == [bill, logo]
    assert found.fields == (("list-id", "<list.a.example>"),)


def test_text_in_several_parts_is_joined_and_an_attached_text_is_not() -> None:
    raw = (
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\none\r\n--x\r\n\r\ntwo\r\n"
        b"--x\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nthree\r\n--x--\r\n"
    )
    found = read_parts(raw)
    assert found.text == "one\ntwo"
    assert [one.filename for one in found.attachments] == ["a.txt"]


def test_a_named_text_that_is_displayed_inline_is_read() -> None:
    raw = b"Content-Disposition: inline; filename=a.txt\r\n\r\none"
    assert read_parts(raw).text == "one"
    assert not read_parts(raw).attachments
    assert read_parts(b"Content-ID: <a@b>\r\n" + raw).attachments


def test_a_charset_that_produces_surrogates_is_harmless() -> None:
    raw = b"Content-Type: text/plain; charset=unicode_escape\r\n\r\n\\ud800"
    assert read_parts(raw).text == "?"


@given(st.binary(max_size=500))
def test_any_octets_are_read(raw: bytes) -> None:
    read_parts(raw)
