"""A message as one recipient gets it."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.ingest.v1.content_pb2 import Attachment, Content, Header
from contracts.ingest.v1.events_pb2 import MessageContext
from kernel.crypto import seal
from mail.dkim import Signer, dkim_record
from mail.smtp import unstuff
from services.delivery.domain.attempt_result import AttemptResult
from services.delivery.domain.rendering import (
    TEXT_FROM_MAX,
    WireMessage,
    compose_email,
    prepare_message,
    sign_messages,
)
from services.delivery.loops.rendering import RenderJob, render_all

RSA, ED = generate_private_key(65537, 2048), Ed25519PrivateKey.generate()
SIGNER = Signer("sender.example", "r1", RSA, "e1", ED)
RECORDS = {
    b"r1._domainkey.sender.example.": dkim_record(RSA.public_key()).encode(),
    b"e1._domainkey.sender.example.": dkim_record(ED.public_key()).encode(),
}
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def content(**more: object) -> Content:
    base: dict[str, object] = {
        "email_id": "e",
        "from": "Zoë Sender <news@sender.example>",
        "to": ["a@receiver.example", "b@receiver.example"],
        "cc": ["c@receiver.example"],
        "reply_to": ["answers@sender.example"],
        "subject": "Grüße",
        "text": "Hello\n.\nBye\n",
        "html": "<p>Hello</p>",
        "headers": [Header(name="X-Campaign", value="spring")],
        "date_s": 1_700_000_000,
    }
    return Content(**(base | more))  # type: ignore[arg-type]


def context(recipient: str = "hidden@receiver.example") -> MessageContext:
    return MessageContext(
        message_id="0199c0de-0000-7000-8000-000000000001",
        recipient=recipient,
        return_path="bounce+abc@bounces.sender.example",
    )


def rendered(made: Content, to: MessageContext | None = None) -> WireMessage:
    return sign_messages(
        [prepare_message(compose_email(made), to or context(), signer=SIGNER, now=NOW)]
    )[0]


def job(made: Content, to: MessageContext | None = None, *, email_id: str = "e") -> RenderJob:
    """As the store holds it: sealed for the email e of no tenant."""
    sent = MessageContext()
    sent.CopyFrom(to or context())
    sent.email_id = email_id
    key = ("", email_id, "")
    return RenderJob(
        key, sent, b"k" * 32, SIGNER, seal(b"k" * 32, made.SerializeToString(), b"/e"), None
    )


def parsed(mail: WireMessage) -> EmailMessage:
    message = message_from_bytes(unstuff(mail.wire), policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_both_signatures_verify_elsewhere() -> None:
    message = unstuff(rendered(content()).wire)
    for index in range(2):
        verifier = dkim.DKIM(message)
        assert verifier.verify(idx=index, dnsfunc=lambda name, timeout=5: RECORDS[name])


def test_the_message_says_what_was_asked_for() -> None:
    message = parsed(rendered(content()))
    assert message["From"] == "Zoë Sender <news@sender.example>"
    assert message["To"] == "a@receiver.example, b@receiver.example"
    assert message["Cc"] == "c@receiver.example"
    assert message["Reply-To"] == "answers@sender.example"
    assert message["Subject"] == "Grüße"
    assert message["X-Campaign"] == "spring"
    assert message["Date"].datetime == datetime.fromtimestamp(1_700_000_000, UTC)
    body = message.get_body(("plain",))
    assert body is not None
    assert body.get_content().splitlines() == ["Hello", ".", "Bye"]


def test_a_hidden_recipient_is_nowhere_in_the_message() -> None:
    assert b"hidden@" not in rendered(content()).wire


def test_date_from_and_message_id_are_there_exactly_once() -> None:
    message = parsed(rendered(content()))
    for name in ("Date", "From", "Message-ID", "MIME-Version", "Subject"):
        assert len(message.get_all(name, [])) == 1


def test_the_message_id_is_of_the_message_and_the_sending_domain() -> None:
    message = parsed(rendered(content()))
    assert message["Message-ID"] == "<0199c0de-0000-7000-8000-000000000001@sender.example>"


@pytest.mark.parametrize("name", ["Message-ID", "message-id", "MESSAGE-ID"])
def test_a_message_id_of_the_senders_own_is_kept_and_signed_on_every_copy(name: str) -> None:
    own = "<order.42@shop.example>"
    other = context("other@receiver.example")
    other.message_id = "0199c0de-0000-7000-8000-000000000002"
    made = content(headers=[Header(name=name, value=own)])
    for mail in (rendered(made), rendered(made, other)):
        message = parsed(mail)
        assert message.get_all("Message-ID") == [own]
        assert mail.size == len(unstuff(mail.wire))
        for index, field in enumerate(message.get_all("DKIM-Signature", [])):
            assert "message-id" in field.lower()
            verifier = dkim.DKIM(unstuff(mail.wire))
            assert verifier.verify(idx=index, dnsfunc=lambda name, timeout=5: RECORDS[name])


def test_a_retry_renders_the_same_message_but_for_its_signature_time() -> None:
    assert rendered(content()) == rendered(content())


def test_the_size_is_that_of_the_message_before_stuffing() -> None:
    mail = rendered(content())
    assert mail.size == len(unstuff(mail.wire))
    assert mail.wire.count(b"\r\n..\r\n") == 1


def test_a_utf8_mailbox_is_marked_as_needing_it() -> None:
    assert not rendered(content()).utf8
    assert rendered(content(), context("zoë@receiver.example")).utf8


def test_attachments_arrive_whole() -> None:
    blob = bytes(range(256)) * 50
    made = content(attachments=[Attachment(filename="ä.bin", content=blob)])
    [part] = parsed(rendered(made)).iter_attachments()
    assert isinstance(part, EmailMessage)
    assert part.get_filename() == "ä.bin"
    assert part.get_content() == blob


@pytest.mark.parametrize(
    "sender", ["", "nobody", "a@b@c.example", "x@y.example\r\nBcc: z@z.example"]
)
def test_a_sender_that_is_no_address_is_refused_in_words(sender: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        compose_email(content(**{"from": sender}))


def test_what_is_wrong_with_one_message_is_its_own_end() -> None:
    lost = AttemptResult(problem="the body is gone from the store")
    others = job(content(), email_id="another")
    ends, _ = render_all([job(content(), context("nobody")), lost, others, job(content())], NOW)
    ends += render_all([job(content(**{"from": "nobody"}))], NOW)[0]
    assert [end.refusal for end in ends if isinstance(end, AttemptResult)] == [
        "content_invalid",
        "",
        "content_unavailable",
        "content_invalid",
    ]
    assert ends[3] == rendered(content())


def test_recipients_of_one_email_share_a_draft() -> None:
    other = context("other@receiver.example")
    other.message_id = "0199c0de-0000-7000-8000-000000000002"
    mails, drafts = render_all([job(content()), job(content(), other)], NOW)
    assert mails == [rendered(content()), rendered(content(), other)]
    assert list(drafts.values()) == [compose_email(content())]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_whatever_is_written_no_line_ends_the_data_early(text: str, html: str) -> None:
    try:
        wire = rendered(content(text=text.encode("utf-8", "ignore").decode(), html=html)).wire
    except ValueError:
        return
    assert wire.endswith(b"\r\n")
    assert b"\r\n.\r\n" not in wire
    assert wire.count(b"\n") == wire.count(b"\r") == wire.count(b"\r\n")
    assert max(map(len, wire.split(b"\r\n"))) <= 998


PAGE = '<p>Dear Ann,</p><p>see <a href="https://a.example/x?a=1&amp;b=2">your order</a> &gt; 9</p>'


def test_html_alone_gets_a_text_part_with_the_addresses_of_its_links() -> None:
    message = parsed(rendered(content(text=None, html=PAGE)))
    assert message.get_content_type() == "multipart/alternative"
    plain, page = message.iter_parts()
    assert isinstance(plain, EmailMessage)
    assert isinstance(page, EmailMessage)
    assert plain.get_content_type() == "text/plain"
    assert plain.get_content().splitlines() == [
        "Dear Ann,",
        "see your order <https://a.example/x?a=1&b=2> > 9",
    ]
    assert page.get_content().strip() == PAGE


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("", PAGE),
        (None, '<img src="https://a.example/all.png">'),
        (None, f"<p>{'x' * TEXT_FROM_MAX}</p>"),
    ],
    ids=["an empty text was tried for", "nothing to read", "too much to read"],
)
def test_a_message_is_html_alone_where_there_is_no_text(text: str | None, html: str) -> None:
    assert parsed(rendered(content(text=text, html=html))).get_content_type() == "text/html"


def test_a_text_that_was_given_is_sent_as_it_is() -> None:
    body = parsed(rendered(content(text="My own words", html=PAGE))).get_body(("plain",))
    assert body is not None
    assert body.get_content().strip() == "My own words"
