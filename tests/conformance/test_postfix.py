"""A message arrives unchanged at other mail servers, and dkimpy verifies both signatures.

With Debian's Postfix (over STARTTLS, into a Maildir) and with its smtp-sink.
"""

import asyncio
import os
import subprocess
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import dkim
import pytest

from contracts.delivery.v1 import events_pb2 as events
from contracts.ingest.v1.content_pb2 import Attachment
from kernel.embedded.folder import free_port
from mail import address
from mail.dkim import dkim_record
from services.delivery.clients.smtp.dial import SmtpDialer
from services.delivery.clients.smtp.dial_target import DialTarget
from services.delivery.clients.smtp.timeouts import SmtpTimeouts
from services.delivery.domain.rendering import WireMessage
from tests.support.delivery import ED_KEY, Harness, make_content
from tests.support.postfix import await_port, postfix, wait_for_files
from tests.support.programs import program
from tests.support.rsa_key import RSA_KEY
from tests.support.stack import harness_fixture

WHO = "friend@receiver.example"
BLOB = bytes(range(256)) * 400
TEXT = "Hello, Zoë\n.\n.a line with a dot\n..two\n" + "long " * 300 + "\ntab\tand  spaces \nBye\n"
RECORDS = {
    b"r1._domainkey.sender.example.": dkim_record(RSA_KEY.public_key()).encode(),
    b"e1._domainkey.sender.example.": dkim_record(ED_KEY.public_key()).encode(),
}

harness = harness_fixture(Harness, scope="module")


def send(harness: Harness, port: int) -> events.DeliveryAttempted:
    """Send a message with everything that servers and clients tend to mangle."""

    async def scenario() -> events.DeliveryAttempted:
        content = make_content(
            subject="Grüße aus Köln",
            text=TEXT,
            html="<p>Hello, Zoë</p>\n.\n",
            attachments=[Attachment(filename="Überblick.bin", content=BLOB)],
        )
        async with harness.running() as running:
            batch = await harness.assign(WHO, at=f"127.0.0.1:{port}", content=content)
            return (await running.send(batch))[WHO]

    return asyncio.run(scenario())


def check(arrived: bytes) -> None:
    """arrived: the message with LF line ends, below fields added by the server."""
    wire = arrived.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    for index in range(2):
        assert dkim.DKIM(wire).verify(idx=index, dnsfunc=lambda name, timeout=5: RECORDS[name])
    message = message_from_bytes(wire, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert message["Subject"] == "Grüße aus Köln"
    text = message.get_body(("plain",))
    assert text is not None
    assert text.get_content().replace("\r\n", "\n") == TEXT
    [part] = message.iter_attachments()
    assert isinstance(part, EmailMessage)
    assert (part.get_filename(), part.get_content()) == ("Überblick.bin", BLOB)
    assert len(message.get_all("Message-ID", [])) == len(message.get_all("Date", [])) == 1


def test_a_message_arrives_unchanged_at_postfix_over_tls(harness: Harness) -> None:
    with postfix() as (port, inbox):
        attempt = send(harness, port)
        assert attempt.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert attempt.reply.tls.startswith("TLS")
        [mail] = wait_for_files(inbox / "new")
        check(mail.read_bytes())


def test_an_unknown_domain_is_refused_by_postfix(harness: Harness) -> None:
    async def scenario(port: int) -> events.DeliveryAttempted:
        async with harness.running() as running:
            batch = await harness.assign("a@elsewhere.example", at=f"127.0.0.1:{port}")
            batch[0].context.return_path = "bounce@receiver.example"
            return (await running.send(batch))["a@elsewhere.example"]

    with postfix(relay="reject_unauth_destination") as (port, _):
        attempt = asyncio.run(scenario(port))
        assert attempt.outcome == events.ATTEMPT_OUTCOME_PERMANENT
        assert (attempt.reply.step, attempt.bounce_class) == ("rcpt", "relay_denied")


@pytest.mark.parametrize(
    "who",
    ["ann", "ann+x=y", '"ann b"', "jür+gen", "x" * 64],
    ids=["a", "plus", "quoted", "utf8", "x"],
)
def test_postfix_accepts_the_dsn_parameters(who: str) -> None:
    async def scenario(port: int) -> None:
        host = DialTarget("mx.receiver.example", port, ("127.0.0.1",))
        session = await SmtpDialer(SmtpTimeouts()).dial(host, sources=(), ehlo="out.sender.example")
        assert session.extensions.dsn
        to = address.parse_mailbox(f"{who}@receiver.example")
        utf8 = address.needs_smtputf8(to)
        mail = WireMessage(None, to, wire=b"Hi\r\n", size=4, utf8=utf8, envelope_id="019ab000-0000")
        assert await session.send_envelope(mail) is None
        assert session.extensions.dsn  # closed after a refusal
        session.abort()

    with postfix() as (port, _):
        asyncio.run(scenario(port))


def test_a_message_arrives_unchanged_at_smtp_sink(harness: Harness, tmp_path: Path) -> None:
    command = program("smtp-sink")
    port = free_port()
    template = str(tmp_path / "dump.")
    user = ["-u", "root"] if os.geteuid() == 0 else []
    sink = subprocess.Popen([command, *user, "-d", template, f"127.0.0.1:{port}", "10"])
    try:
        await_port(port)
        assert send(harness, port).outcome == events.ATTEMPT_OUTCOME_DELIVERED
        [dump] = wait_for_files(tmp_path)
        check(without_own_fields(dump.read_bytes()))
    finally:
        sink.terminate()
        sink.wait()


def without_own_fields(dump: bytes) -> bytes:
    """smtp-sink adds X-… fields for the session, and a Received field."""
    return dump[dump.index(b"DKIM-Signature:") :].rstrip(b"\n") + b"\n"
