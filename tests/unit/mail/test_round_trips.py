"""Composed messages round-trip in Python's email package and in `mail.parser`."""

import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

from hypothesis import given
from hypothesis import strategies as st

from mail import address, encoded_words, headers, parser
from mail.address import Mailbox
from mail.compose import Attachment, Email, compose
from mail.parser import Entity

WIRE = re.compile(rb"\A(?:[^\r\n\0]{0,998}\r\n)*\Z")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PRINTABLE = st.characters(exclude_categories=("C", "Z"))
# Python takes `=?` for the beginning of an encoded word wherever it stands.
WORD = st.text(PRINTABLE, min_size=1, max_size=20).filter(lambda text: "=?" not in text)
PHRASE = st.lists(WORD, max_size=6).map(" ".join)
LABEL = st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True)
DOMAIN = st.lists(LABEL, min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "example"]))
ATOM = st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,15}", fullmatch=True)
ATOMS = st.lists(ATOM, min_size=1, max_size=3)
LOCAL = ATOMS.map(".".join).filter(lambda text: "=?" not in text)
BOX = st.builds(Mailbox, PHRASE, LOCAL, DOMAIN)
BODY = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)
NAME = st.from_regex(r"[A-Za-z0-9 _-]{1,20}\.[a-z]{3}", fullmatch=True).map(str.strip)
FILE = st.builds(Attachment, NAME, st.binary(max_size=200), st.just("application/x-any"))
IMAGE = st.builds(Attachment, NAME, st.binary(max_size=200), st.just("image/png"), LABEL)


def stdlib(raw: bytes) -> EmailMessage:
    parsed = message_from_bytes(raw, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def squeezed(name: str) -> str:
    """Python keeps the space between two encoded words, which RFC 2047 §6.2 drops."""
    return name.replace(" ", "")


def lines(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"


@given(st.lists(BOX, min_size=1, max_size=6))
def test_addresses_of_a_field_round_trip_in_two_parsers(boxes: list[Mailbox]) -> None:
    line = headers.address_list_field("To", boxes)
    assert WIRE.match(line)
    expected = [(box.display_name, box.address) for box in boxes]
    theirs = stdlib(line + b"\r\n")["to"].addresses
    assert [(squeezed(a.display_name), a.addr_spec) for a in theirs] == [
        (squeezed(name), spec) for name, spec in expected
    ]
    raw = dict(parser.parse_entity(line + b"\r\n").fields)["to"].decode()
    ours = [address.parse_mailbox(part) for part in address.split_list(raw)]
    assert [(b.display_name, b.address) for b in ours] == [(nfc(n), a) for n, a in expected]


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=2500))
def test_folding_only_adds_line_ends(value: str) -> None:
    line = headers.encode_field("X-Any", value)
    assert WIRE.match(line)
    if b"=?" not in line:
        assert line.replace(b"\r\n", b"") == b"X-Any: " + value.strip(" \t").encode()


@given(st.lists(st.from_regex(r"<[!-;=?-~]{1,60}@[a-z]{1,20}>", fullmatch=True), max_size=40))
def test_message_ids_round_trip(ids: list[str]) -> None:
    line = headers.encode_field("References", " ".join(ids))
    assert dict(parser.parse_entity(line + b"\r\n").fields)["references"].split() == [
        one.encode() for one in ids
    ]


@given(
    st.integers(86_400, 2**35),
    st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_a_date_round_trips(moment_s: int, zone: timezone) -> None:
    aware = datetime.fromtimestamp(moment_s, zone)
    line = headers.date_field(aware)
    assert parsedate_to_datetime(line.partition(b": ")[2].decode()) == aware


@given(st.text(PRINTABLE | st.just(" "), min_size=1, max_size=300))
def test_encoded_words_are_decoded_by_python(text: str) -> None:
    coded = "\r\n ".join(encoded_words.encode(text))
    assert str(make_header(decode_header(coded.replace("\r\n", "")))) == text


@given(
    st.lists(BOX, max_size=3),
    st.lists(BOX, max_size=2),
    PHRASE,
    st.tuples(BODY, BODY),
    st.tuples(st.lists(IMAGE, max_size=2), st.lists(FILE, max_size=2)),
)
def test_a_whole_message_round_trips_in_two_parsers(
    to: list[Mailbox],
    cc: list[Mailbox],
    subject: str,
    bodies: tuple[str, str],
    files: tuple[list[Attachment], list[Attachment]],
) -> None:
    images, attached = files
    raw = compose(
        Email(
            from_=Mailbox("Ann", "a", "a.example"),
            to=tuple(to),
            cc=tuple(cc),
            subject=subject,
            date=NOW,
            message_id="1@a.example",
            text=bodies[0],
            html=bodies[1],
            attachments=(*images, *attached),
        )
    ).as_bytes()
    assert WIRE.match(raw)
    assert raw.isascii()
    parsed = stdlib(raw)
    for name, boxes in (("to", to), ("cc", cc)):
        found = parsed[name].addresses if boxes else ()
        assert [(squeezed(a.display_name), a.addr_spec) for a in found] == [
            (squeezed(box.display_name), box.address) for box in boxes
        ]
    assert parsed["subject"] == subject
    expected: list[tuple[str, str, object]] = [
        ("text/plain", "", lines(bodies[0])),
        ("text/html", "", lines(bodies[1])),
        *((item.content_type, item.filename, item.content) for item in (*images, *attached)),
    ]
    assert list(map(python_leaf, leaves(parsed))) == expected
    read = [part for part in parser.walk(parser.parse_entity(raw)) if not parser.parts(part)]
    assert list(map(our_leaf, read)) == expected


def leaves(parsed: EmailMessage) -> list[EmailMessage]:
    return [p for p in parsed.walk() if isinstance(p, EmailMessage) and not p.is_multipart()]


def python_leaf(part: EmailMessage) -> tuple[str, str, object]:
    content = part.get_content()
    if isinstance(content, str):
        content = content.replace("\r\n", "\n")
    return part.get_content_type(), part.get_filename(""), content


def our_leaf(part: Entity) -> tuple[str, str, object]:
    kind = part.content_type[0]
    content = part.text().replace("\r\n", "\n") if kind.startswith("text/") else part.content()
    return kind, part.filename, content


@given(PHRASE, BODY, FILE)
def test_messages_composed_by_python_are_parsed(subject: str, text: str, item: Attachment) -> None:
    theirs = EmailMessage(policy=policy.SMTP.clone(cte_type="7bit"))
    theirs["Subject"] = subject
    theirs.set_content(lines(text))
    theirs.add_attachment(item.content, "application", "x-any", filename=item.filename)
    ours = parser.parse_entity(theirs.as_bytes())
    body, attached = parser.parts(ours)
    assert squeezed(ours.get("subject")) == squeezed(subject)
    assert body.text().replace("\r\n", "\n") == body_of(theirs)
    assert (attached.filename, attached.content()) == (item.filename, item.content)


def body_of(theirs: EmailMessage) -> str:
    """The body as Python parses it: it treats more characters than CR and LF as line ends."""
    first = leaves(stdlib(theirs.as_bytes()))[0].get_content()
    assert isinstance(first, str)
    return first.replace("\r\n", "\n")
