import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import address, smtp

WIRE = re.compile(rb"\A(?:[^\r\n]*\r\n)*\Z")
SMUGGLING = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n",
    b"\r\0\n.\r\n",
]  # fmt: skip


@given(st.binary(max_size=400))
def test_any_bytes_become_lines_that_end_in_crlf(raw: bytes) -> None:
    normal = smtp.normalize_line_endings(raw)
    assert WIRE.match(normal)
    assert b"\0" not in normal
    assert smtp.normalize_line_endings(normal) is normal


@given(st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"\0", b"a", b" "])).map(b"".join))
def test_end_of_data_is_never_inside_a_stuffed_message(raw: bytes) -> None:
    wire = smtp.dot_stuff(smtp.normalize_line_endings(raw))
    assert b"\r\n.\r\n" not in b"\r\n" + wire
    assert smtp.dot_unstuff(wire) == smtp.normalize_line_endings(raw)


@pytest.mark.parametrize("trick", SMUGGLING)
def test_a_smuggled_end_of_data_stays_inside_the_message(trick: bytes) -> None:
    raw = b"From: a@b.example\r\n\r\nhello" + trick + b"MAIL FROM:<evil@x.example>\r\n"
    wire = smtp.dot_stuff(smtp.normalize_line_endings(raw)) + b".\r\n"
    assert (b"\r\n" + wire).count(b"\r\n.\r\n") == 1
    assert wire.endswith(b"\r\n.\r\n")
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", wire)


@pytest.mark.parametrize("line", [b".", b"..", b".a", b"a."])
def test_a_line_with_dots_arrives_unchanged(line: bytes) -> None:
    body = b"x\r\n" + line + b"\r\ny\r\n"
    assert smtp.dot_unstuff(smtp.dot_stuff(body)) == body


def test_dot_stuffing_rejects_a_bare_line_feed() -> None:
    with pytest.raises(ValueError, match="not normalized"):
        smtp.dot_stuff(b"a\n.\r\n")


@given(st.lists(st.integers(0, 1200), max_size=12))
def test_a_long_line_is_found_wherever_it_is(lengths: list[int]) -> None:
    raw = b"".join(b"x" * n + b"\r\n" for n in lengths)
    assert smtp.has_long_line(raw) == any(n > 998 for n in lengths)


def test_mail_from_carries_what_the_server_offered() -> None:
    box = address.parse_mailbox("a@exämple.de")
    assert smtp.mail_command(box, size=9, eight_bit=True) == (
        b"MAIL FROM:<a@xn--exmple-cua.de> SIZE=9 BODY=8BITMIME\r\n"
    )
    assert smtp.mail_command(None) == b"MAIL FROM:<>\r\n"


def test_a_utf8_address_requires_smtputf8() -> None:
    box = address.parse_mailbox("jürgen@b.example")
    with pytest.raises(address.AddressError, match=r"5\.6\.7"):
        smtp.rcpt_command(box)
    assert smtp.rcpt_command(box, utf8=True) == "RCPT TO:<jürgen@b.example>\r\n".encode()
    assert b"SMTPUTF8" in smtp.mail_command(box, utf8=True)


@pytest.mark.parametrize("local", ["a\r\nRCPT TO:<x", "a>b", "a b", "a\0"])
def test_a_forged_mailbox_cannot_add_a_command(local: str) -> None:
    with pytest.raises(ValueError, match="cannot be in an SMTP path"):
        smtp.rcpt_command(address.Mailbox("", local, "b.example"))


def test_an_ehlo_name_is_one_word() -> None:
    assert smtp.ehlo_command("mx.b.example") == b"EHLO mx.b.example\r\n"
    with pytest.raises(ValueError, match="EHLO"):
        smtp.ehlo_command("a\r\nQUIT")


def test_xtext_encodes_characters_invalid_in_a_parameter() -> None:
    assert smtp.encode_xtext("a+b=c ü".encode()) == b"a+2Bb+3Dc+20+C3+BC"


def test_with_dsn_reports_contain_the_envelope_id_and_headers_only() -> None:
    box = address.parse_mailbox("bounce@a.example")
    name = "019ab000-0000-7000-8000-00000000000a"
    assert smtp.mail_command(box, size=9, envelope_id=name) == (
        b"MAIL FROM:<bounce@a.example> SIZE=9 RET=HDRS ENVID=" + name.encode() + b"\r\n"
    )
    assert smtp.mail_command(box, envelope_id="+" * 34) == (
        b"MAIL FROM:<bounce@a.example> RET=HDRS\r\n"
    )


def test_failures_and_delays_are_reported_with_the_original_address() -> None:
    assert smtp.rcpt_command(address.parse_mailbox("ann+x=y@b.example"), dsn=True) == (
        b"RCPT TO:<ann+x=y@b.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;ann+2Bx+3Dy@b.example\r\n"
    )
    assert smtp.rcpt_command(address.parse_mailbox('"ann b"@b.example'), dsn=True) == (
        b'RCPT TO:<"ann b"@b.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;"ann+20b"@b.example\r\n'
    )


def test_a_non_ascii_address_is_encoded_in_orcpt() -> None:
    line = smtp.rcpt_command(address.parse_mailbox("jür+gen@b.example"), utf8=True, dsn=True)
    assert line.endswith(rb" ORCPT=utf-8;j\x{FC}r\x{2B}gen@b.example" + b"\r\n")


def test_a_command_that_would_be_too_long_has_no_orcpt() -> None:
    domain = ".".join(["d" * 60] * 3)
    short, long = (address.parse_mailbox(f"{local}@{domain}") for local in ("a", "+" * 64))
    assert b" ORCPT=" in smtp.rcpt_command(short, dsn=True)
    line = smtp.rcpt_command(long, dsn=True)
    assert line.endswith(b"> NOTIFY=FAILURE,DELAY\r\n")
    assert len(line) <= smtp.MAX_COMMAND
