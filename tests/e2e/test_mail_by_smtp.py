"""A mail program sends through the whole engine."""

import smtplib
import ssl
from email import message_from_bytes
from email.message import EmailMessage

import pytest

from tests.support.engine import DOMAIN, Engine
from tests.support.sandbox import await_captured


def message(**headers: str) -> EmailMessage:
    made = EmailMessage()
    made["From"] = f"Shop <hello@{DOMAIN}>"
    made["To"] = "delivered@obm-sandbox.net"
    made["Subject"] = "Grüße"
    for name, value in headers.items():
        made[name.replace("_", "-")] = value
    made.set_content("Your order is on its way.\n\n.\n")
    return made


def context(engine: Engine) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=engine.environment["INGEST_TLS_CERTIFICATE"])


@pytest.mark.parametrize("implicit_tls", [False, True])
def test_a_message_by_smtplib_reaches_the_sandbox_unchanged(
    engine: Engine, implicit_tls: bool
) -> None:
    mail = message(Bcc="delivered+hidden@obm-sandbox.net", Idempotency_Key=f"order-{implicit_tls}")
    to = f"delivered+{implicit_tls}@obm-sandbox.net".lower()
    mail.replace_header("To", to)
    client = (
        smtplib.SMTP_SSL("localhost", engine.ports.submission_tls, context=context(engine))
        if implicit_tls
        else smtplib.SMTP("localhost", engine.ports.submission)
    )
    with client:
        if not implicit_tls:
            client.starttls(context=context(engine))
        client.login("any-name", engine.account.api_key)
        refused = client.send_message(mail)
    assert refused == {}
    got = await_captured(engine, to)
    headers = message_from_bytes(got)
    assert headers["Bcc"] is headers["Idempotency-Key"] is None
    assert b"\r\nDKIM-Signature: " in b"\r\n" + got
    assert b"\r\nMessage-ID: <" in got
    assert b"\r\nDate: " in got
    del mail["Bcc"], mail["Idempotency-Key"]
    assert got.endswith(mail.as_bytes().replace(b"\n", b"\r\n"))
    await_captured(engine, "delivered+hidden@obm-sandbox.net")
