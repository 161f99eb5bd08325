"""Mail programs that log in with a mailbox."""

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import uuid4

from cli.environment import Ports
from tests.support.ingest import DOMAIN, IngestHarness, Response

T = TypeVar("T")
ANN = f"ann@{DOMAIN}"
RECIPIENT = "b@one.example"


def letter(sender: str = ANN, **headers: str) -> bytes:
    fields = {"From": f"Ann <{sender}>", "To": "b@one.example", "Subject": "Hi", **headers}
    return (
        "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode() + b"\r\nHi\r\n"
    )


class Client:
    """An SMTP session of a mailbox, over port 587 or 465."""

    def __init__(self, harness: IngestHarness, ports: Ports | None = None) -> None:
        self._ports = ports or harness.ports
        self._trusted = ssl.create_default_context(cafile=harness.extra["tls_certificate"])

    def open(self, *, implicit_tls: bool = False) -> smtplib.SMTP:
        if implicit_tls:
            port = self._ports.submission_tls
            return smtplib.SMTP_SSL("localhost", port, timeout=60, context=self._trusted)
        client = smtplib.SMTP("localhost", self._ports.submission, timeout=60)
        client.starttls(context=self._trusted)
        return client

    def log_in(
        self, username: str, password: str, *, mechanism: str = "PLAIN", implicit_tls: bool = False
    ) -> tuple[int, bytes]:
        """The reply to AUTH."""
        with self.open(implicit_tls=implicit_tls) as client:
            return try_login(client, username, password, mechanism)

    def send(
        self,
        username: str,
        password: str,
        message: bytes | None = None,
        *,
        sender: str = ANN,
        to: str = RECIPIENT,
    ) -> tuple[int, bytes]:
        """The reply to the message, or to the command that was refused."""
        with self.open() as client:
            found = try_login(client, username, password)
            return submit(client, message or letter(), sender, to) if found[0] == 235 else found


def try_login(
    client: smtplib.SMTP, username: str, password: str, mechanism: str = "PLAIN"
) -> tuple[int, bytes]:
    client.ehlo()
    client.user, client.password = username, password
    try:
        respond: Any = getattr(client, f"auth_{mechanism.lower()}")
        code, text = client.auth(mechanism, respond)
        return code, text
    except smtplib.SMTPAuthenticationError as error:
        return error.smtp_code, as_bytes(error.smtp_error)


def submit(
    client: smtplib.SMTP, message: bytes, sender: str = ANN, to: str = RECIPIENT
) -> tuple[int, bytes]:
    for verb, argument in ((client.mail, sender), (client.rcpt, to)):
        code, text = verb(argument)
        if code != 250:
            client.rset()
            return code, text
    try:
        return client.data(message)
    except smtplib.SMTPDataError as error:
        return error.smtp_code, as_bytes(error.smtp_error)


async def in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


async def act(harness: IngestHarness, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
    response = await harness.request(method, path, body)
    assert response.status < 300, response.raw
    return response.json


async def make_mailbox(harness: IngestHarness, tenant_id: str) -> str:
    """A mailbox of a tenant, whose domain is added too."""
    domain = f"{uuid4().hex}.example.net"
    async with harness.directory() as directory:
        await directory.add_domain(domain, tenant=tenant_id, verified=True)
        secret, _ = await directory.add_key(tenant_id, test=False)
    made = await harness.make("/v1/mailboxes", secret, address=f"ann@{domain}")
    return str(made["id"])


def refusal(response: Response) -> tuple[int, str, str]:
    """Status, name, and the pointer of the first error."""
    problem = response.json
    return response.status, problem["name"], (problem["errors"] or [{"pointer": ""}])[0]["pointer"]


def as_bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
