"""Renders emails: composed once, then given a Message-ID and signed per message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.ingest.v1.content_pb2 import Content, Unsubscribe
from contracts.ingest.v1.events_pb2 import MessageContext
from kernel import times
from mail import address, feedback_id, headers, smtp, submission, verp
from mail.compose import Attachment, ComposedMessage, Email, compose
from mail.dkim import PendingSignatures, Signer, body_hash, sign_all
from mail.downgrade import downgrade
from mail.html import to_text
from mail.splice import FilledBody, SlottedBody
from mail.tracking import TrackingMode
from mail.unsubscribe import URL_PLACEHOLDER, is_field
from services.delivery.domain.recipient_links import (
    STAND_IN,
    EmailLinks,
    MessageTokens,
    Slot,
    has_recipient_links,
    mode_of,
    unsubscribe_fields,
)

HTML_TO_TEXT_CHARS_MAX = 1_000_000  # some 0.1 s


@dataclass(frozen=True, slots=True)
class WireMessage:
    """A message to one recipient, as sent.

    wire: the message, dot-stuffed, without end of data. size: octets before stuffing (RFC 1870).
    utf8: its headers or addresses need SMTPUTF8 (RFC 6531). envelope_id: identifies it in delivery
    status notifications (RFC 3461); the same on every attempt.
    """

    sender: address.Mailbox | None
    recipient: address.Mailbox
    wire: bytes
    size: int
    utf8: bool
    envelope_id: str = ""


class EmailDraft(NamedTuple):
    """An email before it is composed. message_id: of its only message, whose tokens are in the
    texts; empty: recipients share it, or it has no tokens.

    Tokens of a single recipient are put into the texts, because slots cost more than they save
    then. It is a step of its own: to find the links of all emails of a batch before the first is
    composed takes a fifth less time.
    """

    content: Content
    html: str
    text: str | None
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class ComposedEmail:
    """The part that all recipients of an email share.

    wire: headers and body, dot-stuffed. size: octets before stuffing. utf8: it has headers that are
    not ASCII. body_hash: for `bh=`. has_message_id, has_feedback_id: the sender gave such a field.
    unsubscribe: for fields that each message gets. spliced: the body, if recipients have different
    links; then wire is the header, and size lacks the tokens. message_id: of the only message that
    may have it; empty: any.
    """

    headers: tuple[bytes, ...]
    wire: bytes
    size: int
    utf8: bool
    body_hash: bytes
    domain: str
    has_message_id: bool
    has_feedback_id: bool = False
    unsubscribe: Unsubscribe | None = None
    spliced: SlottedBody[Slot] | None = None
    tracking_mode: TrackingMode = TrackingMode.IDENTIFIED
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class UnsignedMessage:
    """The message to one recipient, before it is signed. header: the fields that only this message
    has. body: empty if all recipients have the same, with its hash."""

    composed: ComposedEmail
    header: bytes
    body: FilledBody
    recipient: address.Mailbox
    sender: address.Mailbox | None
    signatures: PendingSignatures
    feedback_signature: PendingSignatures | None
    envelope_id: str


def draft_email(content: Content, context: MessageContext, tracking_key: bytes) -> EmailDraft:
    """The texts of an email, which has the message of the context, among others."""
    html = content.html  # each access creates a new string
    text = _text(content, html)
    if not content.single_recipient or content.raw or not has_recipient_links(content):
        return EmailDraft(content, html, text)
    links = EmailLinks.of(content)
    tokens = MessageTokens.of(context, tracking_key, mode_of(content))
    return EmailDraft(
        content,
        links.fill_html(html, tokens) if html else "",
        None if text is None else links.fill_text(text, tokens),
        context.message_id,
    )


def compose_email(draft: EmailDraft) -> ComposedEmail:
    """Compose an email. Raises ValueError (of mail) with the reason when that is not possible."""
    content = draft.content
    sender = address.parse_mailbox(getattr(content, "from"))
    composed, slots = _compose(draft, sender)
    spliced = SlottedBody.of(composed.body, slots) if slots else None
    message = b"".join((*composed.headers, b"\r\n")) if spliced else composed.as_bytes()
    return ComposedEmail(
        composed.headers,
        wire=smtp.dot_stuff(message),
        size=len(message) + (spliced.size if spliced else 0),
        utf8=not all(map(bytes.isascii, composed.headers)),
        body_hash=b"" if spliced else body_hash(composed.body),
        domain=address.ascii_domain(sender),
        has_message_id=submission.has_field(composed, b"message-id"),
        has_feedback_id=submission.has_field(composed, feedback_id.NAME),
        unsubscribe=_fields_to_add(content, composed),
        spliced=spliced,
        tracking_mode=mode_of(content) if spliced else TrackingMode.IDENTIFIED,
        message_id=draft.message_id,
    )


def _compose(draft: EmailDraft, sender: address.Mailbox) -> tuple[ComposedMessage, Sequence[Slot]]:
    """The message, with a mark for each slot."""
    content = draft.content
    has_slots = not draft.message_id and has_recipient_links(content)
    links = EmailLinks.of(content) if has_slots else None
    if raw := content.raw:
        composed = _complete(raw, content.date_s)
        return links.add_to_submitted(composed) if links else (composed, ())
    email = _email(draft, sender)
    return links.compose(email) if links else (compose(email), ())


def _fields_to_add(content: Content, composed: ComposedMessage) -> Unsubscribe | None:
    """None if the sender gave fields, which are only signed."""
    if not content.HasField("unsubscribe"):
        return None
    names = (item.partition(b":")[0].strip().decode() for item in composed.headers)
    if any(map(is_field, names)):
        return None
    added = Unsubscribe()
    added.CopyFrom(content.unsubscribe)  # without the content, which would stay in memory
    return added


def _complete(raw: bytes, date_s: int) -> ComposedMessage:
    """A message that was submitted as a whole, with a date, in 7 bits and in short lines."""
    date = times.clamp_timestamp(Timestamp(seconds=date_s))
    return downgrade(submission.add_missing_fields(submission.split_message(raw), date=date))


def _email(draft: EmailDraft, sender: address.Mailbox) -> Email:
    content = draft.content
    return Email(
        from_=sender,
        to=tuple(map(address.parse_mailbox, content.to)),
        cc=tuple(map(address.parse_mailbox, content.cc)),
        reply_to=tuple(map(address.parse_mailbox, content.reply_to)),
        subject=content.subject,
        date=times.clamp_timestamp(Timestamp(seconds=content.date_s)),
        headers={header.name: header.value for header in content.headers},
        text=draft.text,
        html=draft.html or None,
        attachments=tuple(
            Attachment(
                part.filename,
                part.content,
                part.content_type or "application/octet-stream",
                part.content_id or None,
            )
            for part in content.attachments
        ),
    )


def _text(content: Content, html: str) -> str | None:
    """The text part: the sender's, or else the text of the HTML part. None if the sender gave an
    empty text, or if the HTML part has no text or is too long."""
    if content.HasField("text") or not html:
        return content.text if content.text or not html else None
    if len(html) > HTML_TO_TEXT_CHARS_MAX:
        return None
    if content.HasField("unsubscribe"):
        html = html.replace(URL_PLACEHOLDER, STAND_IN)
        return to_text(html, targets=True).replace(STAND_IN, URL_PLACEHOLDER) or None
    return to_text(html, targets=True) or None


def prepare_message(
    composed: ComposedEmail,
    context: MessageContext,
    *,
    signer: Signer,
    now: datetime,
    tracking_key: bytes = b"",
    feedback_field: bytes = b"",
    feedback_signer: Signer | None = None,
) -> UnsignedMessage:
    """The message to one recipient. Its Message-ID is the same on every attempt: the one that the
    sender gave, which all recipients get, or a generated one for this recipient. tracking_key:
    signs the tokens in links. feedback_field: added unless the sender gave one. feedback_signer:
    signs too, for the feedback loop of the receiver.

    Raises ValueError (of mail) when an address of the context is invalid, or another message has
    this content.
    """
    if composed.message_id not in {"", context.message_id}:
        raise ValueError("the content is that of another message")
    fields = _report_token(context.return_path)
    if not composed.has_message_id:
        fields += (_message_id(context, composed),)
    if feedback_field and not composed.has_feedback_id:
        fields += (feedback_field,)
    body = FilledBody(b"", 0, composed.body_hash)
    if composed.unsubscribe is not None or composed.spliced is not None:
        tokens = MessageTokens.of(context, tracking_key, composed.tracking_mode)
        if composed.unsubscribe is not None:
            fields += unsubscribe_fields(composed.unsubscribe, tokens)
        if composed.spliced is not None:
            body = composed.spliced.fill(tokens.values(composed.spliced.keys))
    return_path, signed = context.return_path, (*fields, *composed.headers)
    return UnsignedMessage(
        composed,
        b"".join(fields),
        body,
        recipient=address.parse_mailbox(context.recipient),
        sender=address.parse_mailbox(return_path) if return_path else None,
        signatures=signer.prepare(signed, body.body_hash, now),
        feedback_signature=(
            feedback_signer.prepare(signed, body.body_hash, now) if feedback_signer else None
        ),
        envelope_id=context.message_id,
    )


def _message_id(context: MessageContext, composed: ComposedEmail) -> bytes:
    return headers.message_id_field(f"{context.message_id}@{composed.domain}")


def _report_token(return_path: str) -> tuple[bytes, ...]:
    """A field, first in the header, that names the message in reports without its return path."""
    token = verp.token_of(return_path)
    return (f"{verp.REPORT_FIELD}: {token}\r\n".encode(),) if token else ()


def sign_messages(messages: Sequence[UnsignedMessage]) -> list[WireMessage]:
    """Sign messages together, which is faster than one by one. The signature of a feedback domain
    comes below that of the sender, because some verifiers check only the first."""
    signatures = sign_all([one.signatures for one in messages])
    twice = [at for at, one in enumerate(messages) if one.feedback_signature]
    seconds = sign_all([one for at in twice if (one := messages[at].feedback_signature)])
    for at, second in zip(twice, seconds, strict=True):
        signatures[at] += second
    return [_wire(one, signature) for one, signature in zip(messages, signatures, strict=True)]


def _wire(message: UnsignedMessage, signature: bytes) -> WireMessage:
    composed = message.composed
    return WireMessage(
        message.sender,
        message.recipient,
        wire=b"".join((signature, message.header, composed.wire, message.body.wire)),
        size=len(signature) + len(message.header) + composed.size + message.body.added,
        utf8=composed.utf8 or address.needs_smtputf8(message.recipient),
        envelope_id=message.envelope_id,
    )
