"""Mail programs of others submit messages: swaks, msmtp, nodemailer, and a Postfix that relays.

smtplib is in the tests of the whole engine.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.support.engine import DOMAIN, Engine
from tests.support.npm import node
from tests.support.postfix import postfix
from tests.support.programs import program
from tests.support.sandbox import await_captured

SENDER = f"hello@{DOMAIN}"
TIMEOUT_S = 120
ACCEPTED = "250 2.0.0 Queued as "
SWAKS_AUTH, SWAKS_MAIL = 28, 23  # exit codes


def recipient_of(name: str) -> str:
    return f"delivered+{name}@obm-sandbox.net"


def run(*command: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, input=text
    )


def swaks(engine: Engine, *options: str, implicit: bool = False) -> tuple[int, str]:
    """Returns the exit code and the conversation."""
    ports = engine.ports
    tls = ["--tls-on-connect"] if implicit else []
    port = ports.submission_tls if implicit else ports.submission
    certificate = ["--tls-verify", "--tls-ca-path", engine.environment["INGEST_TLS_CERTIFICATE"]]
    done = run(
        program("swaks"), "--server", "localhost", "--port", str(port), *tls, *certificate, *options
    )
    return done.returncode, done.stdout + done.stderr


def login(engine: Engine, mechanism: str) -> list[str]:
    key = engine.account.api_key
    return ["--auth", mechanism, "--auth-user", "any", "--auth-password", key]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("pipelined", [False, True])
def test_swaks_submits(engine: Engine, mechanism: str, *, implicit: bool, pipelined: bool) -> None:
    to = recipient_of(f"swaks-{mechanism}-{implicit}-{pipelined}".lower())
    code, conversation = swaks(
        engine,
        *([] if implicit else ["--tls"]),
        *(["--pipeline"] if pipelined else []),
        *login(engine, mechanism),
        *("--from", SENDER, "--to", to, "--h-Subject", "Hi", "--body", "One\n.\n..two\n"),
        implicit=implicit,
    )
    assert code == 0, conversation
    assert ACCEPTED in conversation
    assert b"Subject: Hi\r\n" in (got := await_captured(engine, to))
    assert b"\r\n\r\nOne\r\n.\r\n..two\r\n" in got


def test_swaks_is_refused_without_tls(engine: Engine) -> None:
    code, conversation = swaks(engine, *login(engine, "PLAIN"), "--from", SENDER, "--to", SENDER)
    assert code == SWAKS_AUTH, conversation
    assert "250-STARTTLS" in conversation
    assert "AUTH" not in conversation.replace("Host did not advertise authentication", "")


def test_swaks_is_refused_with_a_wrong_key(engine: Engine) -> None:
    wrong = ("--auth", "PLAIN", "--auth-user", "any", "--auth-password", "obm_test_wrong")
    code, conversation = swaks(engine, "--tls", *wrong, "--from", SENDER, "--to", SENDER)
    assert code == SWAKS_AUTH, conversation
    assert "535 5.7.8" in conversation


def test_swaks_is_refused_with_a_foreign_sender(engine: Engine) -> None:
    code, conversation = swaks(
        engine,
        "--tls",
        *login(engine, "LOGIN"),
        *("--from", "ann@elsewhere.example", "--to", recipient_of("foreign")),
    )
    assert code == SWAKS_MAIL, conversation
    assert "550 5.7.1" in conversation


@pytest.mark.parametrize("implicit", [False, True])
def test_msmtp_submits(engine: Engine, tmp_path: Path, *, implicit: bool) -> None:
    settings = tmp_path / "msmtprc"
    ports = engine.ports
    settings.write_text(
        "account default\nhost localhost\nauth on\nuser any\ntls on\n"
        f"port {ports.submission_tls if implicit else ports.submission}\n"
        f"tls_starttls {'off' if implicit else 'on'}\n"
        f"tls_trust_file {engine.environment['INGEST_TLS_CERTIFICATE']}\n"
        f"password {engine.account.api_key}\nfrom {SENDER}\n"
    )
    settings.chmod(0o600)
    to = recipient_of(f"msmtp-{implicit}".lower())
    mail = f"From: {SENDER}\nTo: {to}\nBcc: {recipient_of('msmtp-bcc')}\nSubject: Hi\n\nHello\n"

    done = run(program("msmtp"), f"--file={settings}", "--read-recipients", text=mail)

    assert done.returncode == 0, done.stderr
    # By its name: the signature may have these three letters too.
    assert message_from_bytes(await_captured(engine, to))["Bcc"] is None
    await_captured(engine, recipient_of("msmtp-bcc"))


@pytest.mark.parametrize("implicit", [False, True])
def test_nodemailer_submits_over_pooled_connections(engine: Engine, *, implicit: bool) -> None:
    ports = engine.ports
    to = recipient_of(f"nodemailer-{implicit}".lower())
    settings = {
        "PORT": str(ports.submission_tls if implicit else ports.submission),
        "SECURE": "yes" if implicit else "no",
        "KEY": engine.account.api_key,
        "CA": engine.environment["INGEST_TLS_CERTIFICATE"],
        "FROM": SENDER,
        "TO": to,
    }

    ran = node(Path(__file__).with_name("nodemailer.mjs"), env={**os.environ, **settings})

    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)
    assert [one[: len(ACCEPTED)] for one in results["replies"]] == [ACCEPTED] * 4
    assert results["refused"] == 535
    for number in range(4):
        got = await_captured(engine, to.replace("@", f".{number}@"))
        message = message_from_bytes(got, policy=policy.default)
        assert isinstance(message, EmailMessage)
        [part] = message.iter_attachments()
        assert (message["Subject"], part.get_content()) == ("Grüße", b"\0\xff\n")


@pytest.fixture
def relaying(engine: Engine, tmp_path: Path) -> Iterator[int]:
    """The port of a Postfix that relays everything through submission."""
    settings = (
        f"relayhost = [localhost]:{engine.ports.submission}\n"
        "relay_domains = static:all\n"
        "smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\n"
        f"smtp_sasl_password_maps = static:any:{engine.account.api_key}\n"
        "smtp_tls_security_level = secure\nsmtp_dns_support_level = disabled\n"
        f"smtp_tls_CAfile = {engine.environment['INGEST_TLS_CERTIFICATE']}\n"
        "smtp_tls_secure_cert_match = localhost\nsmtp_host_lookup = native\n"
    )
    services = "smtp unix - - n - - smtp\nrelay unix - - n - - smtp\nerror unix - - n - - error\n"
    with postfix(settings=settings, services=services) as (port, _):
        yield port


def test_a_postfix_relays_through_submission(engine: Engine, relaying: int) -> None:
    recipients = [recipient_of(f"relayed-{number}") for number in range(3)]
    done = run(
        program("swaks"),
        *("--server", "127.0.0.1", "--port", str(relaying), "--from", SENDER),
        *("--to", ",".join(recipients), "--h-Subject", "Hi", "--body", "Hello"),
    )
    assert done.returncode == 0, done.stdout
    for recipient in recipients:
        assert b"by mx.receiver.example (Postfix)" in await_captured(engine, recipient)
