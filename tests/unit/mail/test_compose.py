import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import headers, parser, smtp
from mail.address import Mailbox, parse_mailbox
from mail.compose import Attachment, Email, compose
from mail.headers import HeaderError
from mail.mime import MimeError

ANN = parse_mailbox("Ann Lee <ann@a.example>")
BOB = parse_mailbox("bob@b.example")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
WIRE = re.compile(rb"\A(?:[^\r\n\0]{0,998}\r\n)*\Z")


def email(**given: object) -> Email:
    base: dict[str, object] = {
        "from_": ANN,
        "to": (BOB,),
        "subject": "Hello",
        "date": NOW,
        "message_id": "1@a.example",
    }
    return Email(**(base | given))  # type: ignore[arg-type]


def stdlib(raw: bytes) -> EmailMessage:
    parsed = message_from_bytes(raw, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    assert not parsed.defects
    return parsed


def lines(text: str) -> str:
    """The text after transmission: LF line ends, one at the end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"


def body_of(parsed: EmailMessage, kind: str) -> str:
    part = parsed.get_body((kind,))
    assert part is not None
    content: str = part.get_content()
    return content.replace("\r\n", "\n")


BODY = st.text(st.characters(exclude_categories=["Cs"]), max_size=400) | st.text(
    st.sampled_from("ab .\n\r\t=_-\x00é日From\x1b"), max_size=200
)


@given(BODY, BODY)
def test_any_text_and_html_round_trip_in_two_parsers(text: str, html: str) -> None:
    raw = compose(email(text=text, html=html)).as_bytes()
    assert WIRE.match(raw)
    assert raw.isascii()
    parsed = stdlib(raw)
    assert body_of(parsed, "plain") == lines(text)
    assert body_of(parsed, "html") == lines(html)
    inside = [p.text().replace("\r\n", "\n") for p in parser.parts(parser.parse_entity(raw))]
    assert inside == [lines(text), lines(html)]


@given(
    st.binary(max_size=600),
    st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=80),
)
def test_any_file_with_any_name_round_trips(content: bytes, name: str) -> None:
    raw = compose(email(text="x", attachments=(Attachment(name, content),))).as_bytes()
    assert WIRE.match(raw)
    found = parser.parts(parser.parse_entity(raw))[1]
    assert found.content() == content
    assert found.filename == name
    attached = next(stdlib(raw).iter_attachments())
    assert attached.get_payload(decode=True) == content
    if name and name[0] not in '<"' and "\\" not in name and name == name.strip():
        assert attached.get_filename() == name


def test_text_html_inline_image_and_file_are_nested_correctly() -> None:
    raw = compose(
        email(
            text="plain",
            html='<img src="cid:logo">',
            attachments=(
                Attachment("logo.png", PNG, "image/png", "logo"),
                Attachment("Rechnung März.pdf", b"%PDF", "application/pdf"),
            ),
        )
    ).as_bytes()
    parsed = stdlib(raw)
    assert [part.get_content_type() for part in parsed.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/pdf",
    ]
    image = next(part for part in parsed.walk() if part.get_content_type() == "image/png")
    assert image["content-id"] == "<logo>"
    assert image.get_content_disposition() == "inline"
    assert image.get_payload(decode=True) == PNG


def test_bcc_cannot_be_composed() -> None:
    assert message_from_bytes(compose(email(text="x")).as_bytes())["Bcc"] is None
    with pytest.raises(HeaderError):
        compose(email(text="x", headers={"Bcc": "secret@c.example"}))


def test_ascii_text_with_short_lines_is_not_encoded() -> None:
    part = compose(email(text="hello\nworld"))
    assert b"Content-Transfer-Encoding: 7bit\r\n" in part.headers
    assert part.body == b"hello\r\nworld\r\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("grün\n" * 5, b"quoted-printable"),
        ("日本語のメール\n" * 5, b"base64"),
        ("x" * 3000, b"quoted-printable"),
        ("From here on\n", b"quoted-printable"),
        ("trailing \n", b"quoted-printable"),
        ("--=_abc--\n", b"quoted-printable"),
    ],
)
def test_the_encoding_depends_on_the_text(text: str, encoding: bytes) -> None:
    composed = compose(email(text=text))
    assert b"Content-Transfer-Encoding: %b\r\n" % encoding in composed.headers
    assert max(map(len, composed.body.split(b"\r\n"))) <= 76
    assert b"\nFrom " not in b"\n" + composed.body


def test_a_two_megabyte_line_is_split() -> None:
    composed = compose(email(html="<p>" + "x" * 2_000_000))
    assert not smtp.has_long_line(composed.as_bytes())


def test_a_text_of_megabytes_is_encoded_in_pieces_that_fit_together() -> None:
    for text in ("grün\n" * 400_000, "é" * 1_500_000, "From x " * 300_000, "=" * 1_000_000):
        composed = compose(email(text=text))
        assert max(map(len, composed.body.split(b"\r\n"))) <= 76
        assert parser.parse_entity(composed.as_bytes()).text().replace("\r\n", "\n") == lines(text)


def test_recipients_share_one_body() -> None:
    shared = compose(email(text="x", message_id=None))
    one = shared.with_headers(headers.message_id_field("1@a.example"))
    two = shared.with_headers(headers.message_id_field("2@a.example"))
    assert one.body is two.body
    assert stdlib(one.as_bytes())["message-id"] == "<1@a.example>"
    assert two.size == len(two.as_bytes())


def test_many_recipients_are_folded_and_stay_addresses() -> None:
    boxes = tuple(Mailbox(f"Größe {n}, Ann", f"user{n}", "exämple.de") for n in range(50))
    raw = compose(email(to=boxes, text="x")).as_bytes()
    to = stdlib(raw)["to"]
    assert [a.display_name for a in to.addresses] == [b.display_name for b in boxes]
    assert {a.domain for a in to.addresses} == {"xn--exmple-cua.de"}


def test_reply_to_is_written_once() -> None:
    given = {"Reply-To": "Ünal <u@c.example>, v@c.example"}
    raw = compose(email(text="x", headers=given)).as_bytes()
    assert [a.addr_spec for a in stdlib(raw)["reply-to"].addresses] == [
        "u@c.example",
        "v@c.example",
    ]
    raw = compose(email(text="x", headers=given, reply_to=(BOB,))).as_bytes()
    assert str(stdlib(raw)["reply-to"]) == "bob@b.example"
    with pytest.raises(HeaderError, match="Reply-To"):
        compose(email(text="x", headers={"reply-to": "nobody"}))


@pytest.mark.parametrize("name", ["Reply-To", "References", "X-Tag"])
def test_a_repeated_header_in_another_case_is_rejected(name: str) -> None:
    twice = {name: "a@b.example", name.lower(): "c@d.example"}
    with pytest.raises(HeaderError, match="given twice"):
        compose(email(text="x", headers=twice))


def test_an_endless_name_is_folded() -> None:
    raw = compose(email(to=(Mailbox("n" * 1900, "b", "b.example"),), text="x")).as_bytes()
    assert not smtp.has_long_line(raw, 76)
    assert parser.parse_entity(raw).get("to") == "n" * 1900 + " <b@b.example>"


def test_an_attached_message_is_not_encoded() -> None:
    inner = compose(email(text="inner")).as_bytes()
    item = Attachment("mail.eml", inner, "message/rfc822")
    raw = compose(email(text="outer", attachments=(item,))).as_bytes()
    inside = parser.parts(parser.parse_entity(raw))[1]
    assert inside.get("content-transfer-encoding") == "7bit"
    assert inside.body.replace(b"\r\n", b"\n").strip() == inner.replace(b"\r\n", b"\n").strip()


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\0", b"=_"])).map(b"".join))
def test_an_attached_message_has_crlf_line_ends(content: bytes) -> None:
    item = Attachment("mail.eml", content, "message/rfc822")
    composed = compose(email(text="outer", attachments=(item,)))
    assert smtp.normalize_line_endings(composed.body) is composed.body


@pytest.mark.parametrize(
    "item",
    [
        Attachment("a\r\nX: y", b""),
        Attachment("a", b"", "text/html\r\nX: y"),
        Attachment("a", b"", "multipart/mixed"),
        Attachment("a", b"", "image/png", "x>\r\nX: y"),
        Attachment("a" * 300, b""),
    ],
)
def test_an_attachment_cannot_smuggle_a_header(item: Attachment) -> None:
    with pytest.raises((MimeError, HeaderError)):
        compose(email(html="x", attachments=(item,)))


@given(st.text(max_size=60))
def test_no_field_of_a_message_injects_a_header(evil: str) -> None:
    try:
        raw = compose(
            email(subject=evil, headers={"X-A": evil}, reply_to=(Mailbox(evil, "r", "r.example"),))
        ).as_bytes()
    except ValueError:
        return
    names = [name for name, _ in parser.parse_entity(raw).fields]
    expected = "date from to reply-to subject message-id x-a mime-version content-type"
    assert sorted(names) == sorted([*expected.split(), "content-transfer-encoding"])
