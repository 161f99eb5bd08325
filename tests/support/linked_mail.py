"""Mail with tracking links and URLs to unsubscribe, rendered and read again."""

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from uuid import UUID

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from selectolax.lexbor import LexborHTMLParser

from contracts.ingest.v1.content_pb2 import Content, Tracking, Unsubscribe
from contracts.ingest.v1.events_pb2 import MessageContext
from mail import tracking
from mail.dkim import Signer, dkim_record
from mail.smtp import dot_unstuff
from mail.tracking import Click
from services.delivery.domain.rendering import (
    WireMessage,
    compose_email,
    draft_email,
    prepare_message,
    sign_messages,
)
from tests.support.rsa_key import RSA_KEY

RSA, ED = RSA_KEY, Ed25519PrivateKey.generate()
SIGNER = Signer("sender.example", "r1", RSA, "e1", ED)
RECORDS = {
    b"r1._domainkey.sender.example.": dkim_record(RSA.public_key()).encode(),
    b"e1._domainkey.sender.example.": dkim_record(ED.public_key()).encode(),
}
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = b"t" * 32
TENANT, ANN, BOB = (UUID(int=0x0199C0DE_0000_7000_8000_000000000000 + n) for n in range(3))
TOKEN = re.compile(rb"(?<=links\.example/)([cou])/([\w-]+)")
ON = Tracking(host="links.example", opens=True, clicks=True)
URL = "https://shop.example/a?b=1&c=2#d"
LEAVE = Unsubscribe(host="u.example", one_click=True)


def content(html: str, **more: object) -> Content:
    base: dict[str, object] = {
        "from": "News <news@sender.example>", "to": ["list@receiver.example"], "subject": "x",
        "html": html, "tracking": ON, "date_s": 1_700_000_000,
    }  # fmt: skip
    return Content(**(base | more))  # type: ignore[arg-type]


def render(given: Content, message_id: UUID = ANN, *, context_id: UUID = ANN) -> WireMessage:
    """context_id: of the message that the email was composed for first."""
    composed = compose_email(draft_email(given, context(context_id), KEY))
    prepare = partial(prepare_message, signer=SIGNER, now=NOW, tracking_key=KEY)
    return sign_messages([prepare(composed, context(message_id))])[0]


def context(message_id: UUID) -> MessageContext:
    return MessageContext(
        message_id=str(message_id), tenant_id=str(TENANT), recipient="ann@receiver.example"
    )


def wire_of(given: Content, message_id: UUID = ANN) -> bytes:
    """The same texts are in an email that has this recipient only."""
    raw, alone = (
        unstuffed(render(one, message_id, context_id=message_id))
        for one in (given, with_single_recipient(given))
    )
    for kind in ("html", "plain"):
        ours, theirs = (parsed(one).get_body((kind,)) for one in (raw, alone))
        assert (ours and ours.get_content()) == (theirs and theirs.get_content())
    return raw


def with_single_recipient(given: Content) -> Content:
    alone = Content(single_recipient=True)
    alone.MergeFrom(given)
    return alone


def unstuffed(message: WireMessage) -> bytes:
    raw = dot_unstuff(message.wire)
    assert message.size == len(raw)
    return raw


def parsed(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def body_of(raw: bytes, kind: str = "html") -> str:
    body = parsed(raw).get_body((kind,))
    assert body is not None
    found: str = body.get_content()
    return found


def hrefs_of(raw: bytes) -> list[str]:
    return hrefs_in(body_of(raw))


def hrefs_in(page: str) -> list[str]:
    nodes = LexborHTMLParser(page).css("a,area")
    return [node.attrs.get("href") or "" for node in nodes]


def read_link(href: str) -> Click | None:
    return tracking.read_click(href.removeprefix("https://links.example/c/"), (KEY,))


def check_signatures(raw: bytes) -> None:
    for index in range(2):
        verifier = dkim.DKIM(raw)
        assert verifier.verify(idx=index, dnsfunc=lambda name, timeout=5: RECORDS[name])
