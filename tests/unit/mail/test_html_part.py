"""Finding and replacing the HTML part of a message that was submitted as a whole."""

import re
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from mail import smtp
from mail.html_part import find_html, replace_html
from mail.splice import SlottedText

PAGE = '<p>Grüße  <a href="https://x.example/?a=1&amp;b=2">y</a></p>\n.\nFrom me \n'


def message(html: str = PAGE, *, cte: str = "quoted-printable", charset: str = "utf-8") -> bytes:
    made = EmailMessage(policy=policy.SMTP)
    made["From"], made["Subject"] = "a@a.example", "Grüße"
    made.set_content("Plain\n")
    made.add_alternative(html, subtype="html", cte=cte, charset=charset)
    made.add_attachment(b"\0\1", "application", "x-any", filename="a.bin")
    return smtp.normalize_line_endings(made.as_bytes())


def html_of(raw: bytes) -> str:
    parsed = message_from_bytes(raw, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    body = parsed.get_body(("html",))
    assert body is not None
    found: str = body.get_content()
    return found.replace("\r\n", "\n")


def with_slot(raw: bytes) -> bytes:
    part = find_html(raw)
    assert part is not None
    at = part.html.index("https")
    text = SlottedText((f"{part.html[:at]}http", f"s{part.html[at + 5 :]}"), ("k",))
    return replace_html(raw, part, text)


@pytest.mark.parametrize("cte", ["quoted-printable", "base64", "8bit"])
@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "windows-1252"])
def test_only_the_text_and_its_encoding_change(cte: str, charset: str) -> None:
    raw = message(cte=cte, charset=charset)
    new = with_slot(raw).replace(b"\0", b"VALUE")
    assert html_of(new) == html_of(raw).replace("https", "httpVALUEs")
    at = new.index(b"Content-Transfer-Encoding", new.index(b"text/html"))
    end = new.index(b"\r\n--", at)
    same = raw[: raw.index(b"\r\n--", raw.index(b"text/html"))], raw[end - len(new) :]
    assert raw.endswith(new[end:])
    assert raw.startswith(new[:at].replace(b"quoted-printable", cte.encode()) if cte else same[0])
    assert re.fullmatch(rb"(?:[^\r\n]{0,76}\r\n)*", new[at:end] + b"\r\n")


def test_a_part_that_is_quoted_printable_keeps_its_header() -> None:
    raw = message().replace(b"quoted-printable", b"Quoted-Printable  ")
    assert with_slot(raw).count(b"Content-Transfer-Encoding: Quoted-Printable  \r\n") == 1


def test_a_part_without_an_encoding_gets_one() -> None:
    raw = b"From: a@a.example\r\nContent-Type: text/html\r\n\r\n<p>https</p>\r\n"
    assert with_slot(raw).startswith(
        b"From: a@a.example\r\nContent-Type: text/html\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n<p>http=\r\n\0=\r\ns</p>\r\n"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"text/html", b"text/plain"),
        (b"multipart/alternative", b"multipart/signed"),
        (b"multipart/mixed", b"multipart/encrypted"),
        (b'charset="utf-8"\r\nContent-Transfer-Encoding: q', b"charset=utf-16\r\nC-T-E: q"),
        (b"text/html", b"text/html; name=a.html"),
        (b"text/plain", b"text/html"),
        (b"Gr=C3=BC=C3=9Fe", b"Gr=C3e"),
    ],
    ids=["none", "signed", "encrypted", "utf-16", "a file", "two", "not of its charset"],
)
def test_html_that_cannot_be_changed_safely_is_not_found(old: bytes, new: bytes) -> None:
    raw = message()
    assert find_html(raw) is not None
    changed = new.join(raw.rsplit(old, 1))
    assert changed != raw
    assert find_html(changed) is None


def test_deep_and_wide_messages_are_read_in_bounded_time() -> None:
    deep = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n" * 10_000
    wide = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n\r\nx\r\n" * 100_000
    assert find_html(deep) is None
    assert find_html(wide) is None
