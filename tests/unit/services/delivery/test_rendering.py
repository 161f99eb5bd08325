"""Rendering a message for one recipient."""

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from uuid import UUID

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.ingest.v1.content_pb2 import Attachment, Content, Header
from contracts.ingest.v1.events_pb2 import MessageContext
from kernel.crypto import seal
from mail import verp
from mail.dkim import Signer, dkim_record
from mail.smtp import dot_unstuff
from services.delivery.domain.attempt_result import AttemptResult
from services.delivery.domain.feedback_ids import FeedbackIdEncoder
from services.delivery.domain.rendering import (
    HTML_TO_TEXT_CHARS_MAX,
    ComposedEmail,
    WireMessage,
    compose_email,
    draft_email,
    prepare_message,
    sign_messages,
)
from services.delivery.loops.rendering import RenderJob, render_all
from tests.support.rsa_key import RSA_KEY

RSA, ED = RSA_KEY, Ed25519PrivateKey.generate()
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


def render(mail_content: Content, to: MessageContext | None = None) -> WireMessage:
    composed = composed_of(mail_content)
    return sign_messages([prepare_message(composed, to or context(), signer=SIGNER, now=NOW)])[0]


def composed_of(mail_content: Content) -> ComposedEmail:
    return compose_email(draft_email(mail_content, context(), b""))


def create_job(
    mail_content: Content, to: MessageContext | None = None, *, email_id: str = "e"
) -> RenderJob:
    """A job with the content as stored: sealed for the email e of the empty tenant."""
    sent = MessageContext()
    sent.CopyFrom(to or context())
    sent.email_id = email_id
    key = ("", email_id, "")
    return RenderJob(
        key, sent, b"k" * 32, SIGNER, seal(b"k" * 32, mail_content.SerializeToString(), b"/e"), None
    )


def parse(mail: WireMessage) -> EmailMessage:
    message = message_from_bytes(dot_unstuff(mail.wire), policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_both_signatures_verify_with_another_implementation() -> None:
    message = dot_unstuff(render(content()).wire)
    for index in range(2):
        verifier = dkim.DKIM(message)
        assert verifier.verify(idx=index, dnsfunc=lambda name, timeout=5: RECORDS[name])


def test_a_feedback_domain_signs_below_the_sender() -> None:
    feedback = Signer("feedback.example", "r2", RSA, "e2", ED)
    records = RECORDS | {
        b"r2._domainkey.feedback.example.": dkim_record(RSA.public_key()).encode(),
        b"e2._domainkey.feedback.example.": dkim_record(ED.public_key()).encode(),
    }
    job = create_job(content())
    twice = replace(job, feedback_signer=feedback)
    [once, both, again], _ = render_all([job, twice, job], NOW)
    assert isinstance(both, WireMessage)
    assert once == again == render(content())
    message = dot_unstuff(both.wire)
    for index in range(4):
        assert dkim.DKIM(message).verify(idx=index, dnsfunc=lambda name, timeout=5: records[name])
    fields = parse(both).get_all("DKIM-Signature", [])
    assert [one.split("d=")[1].split(";")[0] for one in fields] == [
        *["sender.example"] * 2,
        *["feedback.example"] * 2,
    ]
    assert fields[:2] == parse(once).get_all("DKIM-Signature", [])
    assert both.size == len(message)


def test_the_message_has_the_fields_of_the_request() -> None:
    message = parse(render(content()))
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


def test_a_bcc_recipient_does_not_appear_in_the_message() -> None:
    assert b"hidden@" not in render(content()).wire


def test_required_headers_appear_exactly_once() -> None:
    message = parse(render(content()))
    for name in ("Date", "From", "Message-ID", "MIME-Version", "Subject"):
        assert len(message.get_all(name, [])) == 1


def test_the_message_id_has_the_id_of_the_message_and_the_sending_domain() -> None:
    message = parse(render(content()))
    assert message["Message-ID"] == "<0199c0de-0000-7000-8000-000000000001@sender.example>"


@pytest.mark.parametrize("name", ["Message-ID", "message-id", "MESSAGE-ID"])
def test_a_message_id_given_by_the_sender_is_kept_and_signed_in_every_message(name: str) -> None:
    own = "<order.42@shop.example>"
    other = context("other@receiver.example")
    other.message_id = "0199c0de-0000-7000-8000-000000000002"
    mail_content = content(headers=[Header(name=name, value=own)])
    for mail in (render(mail_content), render(mail_content, other)):
        message = parse(mail)
        assert message.get_all("Message-ID") == [own]
        assert mail.size == len(dot_unstuff(mail.wire))
        for index, field in enumerate(message.get_all("DKIM-Signature", [])):
            assert "message-id" in field.lower()
            verifier = dkim.DKIM(dot_unstuff(mail.wire))
            assert verifier.verify(idx=index, dnsfunc=lambda name, timeout=5: RECORDS[name])


def test_a_signed_field_names_the_message_in_reports_without_its_return_path() -> None:
    own = content(headers=[Header(name="X-Report-Token", value="of another message")])
    for number in (1, 2):
        to = context()
        message_id = UUID(int=number)
        to.return_path = verp.return_path(message_id, "b.sender.example", key=b"k" * 16).address
        mail = render(own, to)
        assert mail.size == len(dot_unstuff(mail.wire))
        message = parse(mail)
        first, *_ = message.get_all("X-Report-Token", [])
        assert verp.parse_token(first, keys=(b"k" * 16,)) == message_id
        assert len(first) == 50
        for index in range(2):
            verifier = dkim.DKIM(dot_unstuff(mail.wire))
            assert verifier.verify(idx=index, dnsfunc=lambda name, timeout=5: RECORDS[name])
            assert "x-report-token" in message.get_all("DKIM-Signature", [])[index].lower()


def test_a_retry_renders_the_same_message_but_for_its_signature_time() -> None:
    assert render(content()) == render(content())


def test_the_size_is_that_of_the_message_before_stuffing() -> None:
    mail = render(content())
    assert mail.size == len(dot_unstuff(mail.wire))
    assert mail.wire.count(b"\r\n..\r\n") == 1


def test_a_utf8_mailbox_is_marked_as_needing_it() -> None:
    assert not render(content()).utf8
    assert render(content(), context("zoë@receiver.example")).utf8


def test_attachments_arrive_unchanged() -> None:
    blob = bytes(range(256)) * 50
    mail_content = content(attachments=[Attachment(filename="ä.bin", content=blob)])
    [part] = parse(render(mail_content)).iter_attachments()
    assert isinstance(part, EmailMessage)
    assert part.get_filename() == "ä.bin"
    assert part.get_content() == blob


@pytest.mark.parametrize(
    "sender", ["", "nobody", "a@b@c.example", "x@y.example\r\nBcc: z@z.example"]
)
def test_an_invalid_sender_is_refused_with_a_reason(sender: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        composed_of(content(**{"from": sender}))


def test_an_error_in_one_message_does_not_affect_the_others() -> None:
    lost = AttemptResult(problem="the content is missing from the store")
    others = create_job(content(), email_id="another")
    results, _ = render_all(
        [create_job(content(), context("nobody")), lost, others, create_job(content())], NOW
    )
    results += render_all([create_job(content(**{"from": "nobody"}))], NOW)[0]
    assert [result.refusal for result in results if isinstance(result, AttemptResult)] == [
        "content_invalid",
        "",
        "content_unavailable",
        "content_invalid",
    ]
    assert results[3] == render(content())


def test_recipients_of_one_email_share_a_composed_email() -> None:
    other = context("other@receiver.example")
    other.message_id = "0199c0de-0000-7000-8000-000000000002"
    mails, composed = render_all([create_job(content()), create_job(content(), other)], NOW)
    assert mails == [render(content()), render(content(), other)]
    assert list(composed.values()) == [composed_of(content())]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_no_content_ends_the_data_early(text: str, html: str) -> None:
    try:
        wire = render(content(text=text.encode("utf-8", "ignore").decode(), html=html)).wire
    except ValueError:
        return
    assert wire.endswith(b"\r\n")
    assert b"\r\n.\r\n" not in wire
    assert wire.count(b"\n") == wire.count(b"\r") == wire.count(b"\r\n")
    assert max(map(len, wire.split(b"\r\n"))) <= 998


PAGE = '<p>Dear Ann,</p><p>see <a href="https://a.example/x?a=1&amp;b=2">your order</a> &gt; 9</p>'


def test_html_alone_gets_a_text_part_with_the_urls_of_its_links() -> None:
    message = parse(render(content(text=None, html=PAGE)))
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
        (None, f"<p>{'x' * HTML_TO_TEXT_CHARS_MAX}</p>"),
    ],
    ids=["an empty text was requested", "no text in the page", "a page that is too long"],
)
def test_a_message_without_usable_text_has_only_an_html_part(text: str | None, html: str) -> None:
    assert parse(render(content(text=text, html=html))).get_content_type() == "text/html"


def test_a_given_text_is_sent_unchanged() -> None:
    body = parse(render(content(text="My own words", html=PAGE))).get_body(("plain",))
    assert body is not None
    assert body.get_content().strip() == "My own words"


def test_a_submitted_message_keeps_its_octets_and_gets_what_is_missing() -> None:
    raw = (
        b"Subject:  odd\r\n\tfolding \r\nFrom: news@sender.example\r\nX-Own: 1\r\n\r\n"
        b"Hello\r\n.\r\n  two  spaces  \r\n"
    )
    sent = dot_unstuff(render(content(raw=raw, text=None, html="")).wire)
    head, found, rest = sent.partition(b"Subject:  odd")
    assert found + rest == raw
    assert b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n" in head
    assert b"Message-ID: <0199c0de-0000-7000-8000-000000000001@sender.example>\r\n" in head
    assert dkim.verify(sent, dnsfunc=lambda name, timeout=5: RECORDS.get(name))


def test_a_submitted_message_keeps_its_date_and_message_id() -> None:
    raw = (
        b"Date: Fri, 2 Jan 2026 03:04:05 +0000\r\nMessage-Id : <own@sender.example>\r\n"
        b"From: news@sender.example\r\n\r\n"
    )
    sent = dot_unstuff(render(content(raw=raw, text=None, html="")).wire)
    assert sent.endswith(b"\r\n" + raw)
    assert sent.lower().count(b"\r\nmessage-id") == 1


FIELD = FeedbackIdEncoder(bytes(16)).field(MessageContext(tenant_id="t", broadcast=True), "a")


def rendered_with(mail_content: Content) -> bytes:
    composed = composed_of(mail_content)
    one = prepare_message(composed, context(), signer=SIGNER, now=NOW, feedback_field=FIELD)
    return dot_unstuff(sign_messages([one])[0].wire)


def test_feedback_id_is_signed_by_both_keys() -> None:
    message = rendered_with(content())
    assert message.count(FIELD) == 1
    for index in (0, 1):
        assert dkim.DKIM(message).verify(idx=index, dnsfunc=lambda name, **_: RECORDS[name])
        changed = message.replace(b"Feedback-ID: broadcast", b"Feedback-ID: broadcart")
        assert not dkim.DKIM(changed).verify(idx=index, dnsfunc=lambda name, **_: RECORDS[name])


def test_the_senders_own_feedback_id_stays_the_only_one() -> None:
    given = [Header(name="Feedback-ID", value="spring:shop:news:acme1")]
    for one in (
        content(headers=given),
        content(raw=b"From: a@sender.example\r\nfeedback-id: spring:shop:news:acme1\r\n\r\nHi\r\n"),
    ):
        message = message_from_bytes(rendered_with(one))
        assert message.get_all("Feedback-ID") == ["spring:shop:news:acme1"]
