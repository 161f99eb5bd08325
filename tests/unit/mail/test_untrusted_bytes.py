"""Untrusted input cannot inject a message, a field or a command."""

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import (
    address,
    bounce,
    bounce_text,
    downgrade,
    headers,
    mime,
    parser,
    smtp,
    smtp_reply,
    submission,
)
from mail.address import AddressError, Mailbox
from mail.compose import Attachment, ComposedMessage, Email, compose
from mail.downgrade import ConversionError
from mail.headers import HeaderError
from mail.submission import SubmissionError

WIRE = re.compile(rb"\A(?:[^\r\n\0]{0,998}\r\n)*\Z")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EVIL = st.text(max_size=40) | st.text(st.sampled_from('ab@.<>"\\ \t\r\n\0:;,é=?'), max_size=30)
LINE = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=40)
NAMES = st.sampled_from(
    ["Bcc", "BCC ", "bcc", "Resent-Bcc", "Return-Path", "To", "X-A", "X-B", "Received", "List-Id"]
)
VALUES = st.lists(st.from_regex(r"[ -~\x80-\xff]{0,30}", fullmatch=True), min_size=1, max_size=3)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8, unique_by=lambda field: field[0] == "To")
SHAPES = st.sampled_from(
    [
        b"Content-Type: text/plain; charset=utf-8\r\n\r\n%b",
        b"Content-Type: application/pdf; name=%b\r\n\r\nx",
        b'Content-Disposition: attachment; filename="%b"\r\n\r\nx',
        b"Subject: %b\r\n\r\nx",
        b"To: %b <b@b.example>, %b@c.example\r\n\r\nx",
        b"References: <%b@b.example>\r\n\r\nx",
        b"DKIM-Signature: v=1; b=%b\r\n\r\nx",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n%b\r\n--x--\r\n",
        b'Content-Type: multipart/mixed; boundary="%b"\r\n\r\n--%b\r\n\r\n\xff\r\n--x--\r\n',
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nSubject: %b\r\n\r\n%b\r\n--x--",
    ]
)


def prepare(data: bytes) -> ComposedMessage:
    return submission.prepare(data, date=NOW, message_id="1@a.example")


@given(FIELDS, st.binary(max_size=80))
def test_a_submitted_message_loses_only_reserved_fields(
    fields: list[tuple[str, list[str]]], body: bytes
) -> None:
    given_ = [
        b"%b: %bq\r\n" % (name.encode(), "\r\n\tq".join(value).encode("latin-1"))
        for name, value in fields
    ]
    out = prepare(b"From: a@a.example\r\n" + b"".join(given_) + b"\r\n" + body)
    kept = [line for line in given_ if not re.match(rb"(?i)(resent-)?bcc|return-path", line)]
    assert list(out.headers[2:]) == [b"From: a@a.example\r\n", *kept]
    assert out.body == smtp.normalize_line_endings(body)
    assert re.fullmatch(rb"(?:[^\r\n\0]*\r\n)*", out.as_bytes())
    parsed = message_from_bytes(out.as_bytes(), policy=policy.compat32)
    assert len(parsed.keys()) == len(out.headers)
    assert parsed["bcc"] is parsed["resent-bcc"] is None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_rejected(data: bytes) -> None:
    for whole in (data, b"From: a@a.example\r\n" + data):
        try:
            out = prepare(whole).as_bytes()
        except SubmissionError:
            continue
        assert smtp.is_normalized(out)
        assert (b"\r\n" + smtp.dot_stuff(out) + b".\r\n").count(b"\r\n.\r\n") == 1


@pytest.mark.parametrize("eight_bit", [True, False])
@given(SHAPES, st.binary(max_size=30) | st.sampled_from([b"y" * 1200, b"\xc3\xbc" * 600]))
def test_any_submitted_message_is_converted_or_rejected(
    eight_bit: bool, shape: bytes, piece: bytes
) -> None:
    data = shape.replace(b"%b", re.sub(rb"[\r\n\0]", b"", piece))
    try:
        out = downgrade.downgrade(prepare(b"From: a@a.example\r\n" + data), eight_bit=eight_bit)
    except (ConversionError, SubmissionError):
        return
    assert WIRE.match(out.as_bytes())
    assert eight_bit or out.as_bytes().isascii()


@given(EVIL, EVIL, EVIL)
def test_no_part_of_a_file_injects_a_header(name: str, kind: str, content_id: str) -> None:
    try:
        part = mime.attachment_part(mime.Attachment(name, b"x", kind, content_id), b"s")
    except (mime.MimeError, HeaderError):
        return
    head = b"".join(part.headers)
    assert WIRE.match(head)
    names = [field for field, _ in parser.parse_entity(head + b"\r\n").fields]
    assert names[:3] == ["content-type", "content-transfer-encoding", "content-disposition"]
    assert names[3:] in ([], ["content-id"])


@given(st.binary(max_size=300))
def test_an_attached_message_of_any_bytes_round_trips(content: bytes) -> None:
    for kind in ("message/rfc822", "text/html", "application/any"):
        email = Email(
            from_=Mailbox("", "a", "a.example"),
            text="x",
            attachments=(Attachment("a", content, kind),),
        )
        whole = compose(email).as_bytes()
        assert WIRE.match(whole)
        part = parser.parts(parser.parse_entity(whole))[1]
        if part.get("content-transfer-encoding") == "base64":
            assert part.content() == content
        else:
            assert (
                smtp.normalize_line_endings(part.body).strip()
                == smtp.normalize_line_endings(content).strip()
            )


@given(EVIL, EVIL, EVIL)
def test_a_forged_mailbox_cannot_inject_a_command(name: str, local: str, domain: str) -> None:
    box = Mailbox(name, local, domain)
    for command in (smtp.mail_command, smtp.rcpt_command):
        try:
            line = command(box, utf8=True)
        except ValueError:
            continue
        assert re.fullmatch(rb"(?:MAIL FROM|RCPT TO):<[^\r\n\0]*>(?: SMTPUTF8)?\r\n", line)


@given(EVIL)
def test_any_ehlo_name_is_one_word_or_rejected(name: str) -> None:
    try:
        assert re.fullmatch(rb"EHLO [^ \r\n\0]+\r\n", smtp.ehlo_command(name))
    except ValueError:
        return


@given(EVIL)
def test_an_encoded_parameter_is_printable_and_lossless(value: str) -> None:
    try:
        given = value.encode()
    except UnicodeEncodeError:
        return
    assert decoded(smtp.encode_xtext(given)) == given


def decoded(coded: bytes) -> bytes:
    """Decode xtext (RFC 3461 §4) strictly."""
    assert re.fullmatch(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*", coded)
    return re.sub(rb"\+([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), coded)


def decoded_utf8(coded: bytes) -> bytes:
    """Decode utf-8-addr-xtext (RFC 6533 §3)."""
    assert re.fullmatch(rb"(?:[!-*,-<>-\[\]-~]|\\x\{[1-9A-F][0-9A-F]{1,5}\})*", coded)
    points = re.sub(rb"\\x\{([0-9A-F]+)\}", lambda m: chr(int(m[1], 16)).encode(), coded)
    assert b"\\x{" not in points
    return points


@given(EVIL, EVIL)
def test_orcpt_contains_the_address_of_its_command(local: str, domain: str) -> None:
    box = Mailbox("", local, domain)
    try:
        line = smtp.rcpt_command(box, utf8=True, dsn=True)
    except ValueError:
        return
    assert line.count(b"\r\n") == 1
    assert len(line) <= smtp.MAX_COMMAND
    path, _, original = line[:-2].rpartition(b"> NOTIFY=FAILURE,DELAY ORCPT=")
    kind, _, coded = original.partition(b";")
    read = {b"rfc822": decoded, b"utf-8": decoded_utf8}[kind]
    assert b"RCPT TO:<" + read(coded) == path


@given(EVIL)
def test_any_list_is_split_into_addresses_or_rejected(text: str) -> None:
    assert all(part in text for part in address.split_list(text))
    for call in (address.parse_list, address.to_ascii):
        try:
            call(text)
        except AddressError:
            continue


@given(EVIL)
def test_a_message_id_is_one_line_or_rejected(value: str) -> None:
    try:
        line = headers.message_id_field(value)
    except HeaderError:
        return
    assert re.fullmatch(rb"Message-ID: <[!-~]+@[!-~]+>\r\n", line)


@given(st.integers(400, 599), st.lists(LINE, min_size=1, max_size=5))
def test_a_multiline_reply_is_parsed_unchanged(code: int, lines: list[str]) -> None:
    marks = ["-"] * (len(lines) - 1) + [" "]
    wire = "".join(f"{code}{mark}{text}\r\n" for mark, text in zip(marks, lines, strict=True))
    found = smtp_reply.parse_reply(wire.encode())
    assert found.code == code
    assert found == smtp_reply.reply_from_text(code, "\n".join(lines))
    assert len(found.text) <= smtp_reply.MAX_TEXT


@given(st.integers(0, 999), EVIL, EVIL)
def test_any_refusal_has_a_class_and_a_normalized_text(code: int, enhanced: str, text: str) -> None:
    for command in ("", "MAIL", "RCPT", "DATA"):
        assert bounce.classify(code, enhanced, text, command=command).name
    counted = bounce.normalize_diagnostic(text)
    assert len(counted) <= 512
    assert counted == " ".join(counted.split())


@given(EVIL)
def test_any_text_has_codes_and_a_command_or_none(text: str) -> None:
    code, enhanced, lines = bounce_text.split_codes(f"{text} 550 5.1.1 {text}")
    assert code in range(400, 600)
    assert isinstance(enhanced + lines + bounce_text.refused_command(text), str)
