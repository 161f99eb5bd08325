"""Kill ingest while many clients submit by SMTP."""

import contextlib
import itertools
import smtplib
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage

from tests.faults.client import RETRY_AFTER_S, TIMEOUT_S
from tests.faults.world import World

SESSIONS = 20
INTERVAL_S = 0.5  # of each session
PORTS = ("INGEST_SUBMISSION_LISTEN", "INGEST_SUBMISSION_TLS_LISTEN")


def kill_under_submission(world: World, times: int) -> None:
    """Kill -9 at random moments; each client repeats its message, with its idempotency key."""
    with submitting(world) as sessions:
        for turn in range(times):
            world.pause(turn)
            world.kill("ingest")
            world.processes["ingest"].start()
            world.processes["ingest"].await_ready()
        world.pause(times)
    world.notes.append(
        f"{sum(one.accepted for one in sessions)} by SMTP,"
        f" {sum(one.interrupted for one in sessions)} interrupted"
    )


@dataclass
class Session:
    """One client. interrupted: messages that it had to repeat."""

    world: World
    listen: str
    context: ssl.SSLContext
    stop: threading.Event
    accepted: int = 0
    interrupted: int = 0
    _connection: smtplib.SMTP | None = field(default=None, init=False)

    def run(self) -> None:
        """Submit until `stop` is set, and the last message is accepted."""
        while not self.stop.wait(INTERVAL_S):
            recipient = self.world.client.next_recipient()
            attempts = itertools.count()
            while not self._submit(recipient):
                self.interrupted += next(attempts) == 0
                time.sleep(RETRY_AFTER_S)
            self.accepted += 1
        self._close()

    def _submit(self, recipient: str) -> bool:
        client = self.world.client
        try:
            smtp = self._connection = self._connection or self._connect()
            smtp.mail(client.sender)
            smtp.rcpt(recipient)
            code, text = smtp.data(message(client.sender, recipient, seed=client.seed))
        except (OSError, smtplib.SMTPException):
            self._close()
            return False
        if code != 250:
            self._close()
            return False
        client.accepted[recipient] = text.decode().rpartition(" ")[2]
        return True

    def _connect(self) -> smtplib.SMTP:
        host, port = "localhost", int(self.world.environment[self.listen].rpartition(":")[2])
        if self.listen == "INGEST_SUBMISSION_LISTEN":
            smtp = smtplib.SMTP(host, port, timeout=TIMEOUT_S)
        else:
            smtp = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=self.context)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(smtp.close)
            if self.listen == "INGEST_SUBMISSION_LISTEN":
                smtp.starttls(context=self.context)
            smtp.login("key", self.world.client.key)
            on_failure.pop_all()
        return smtp

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextlib.contextmanager
def submitting(world: World) -> Iterator[list[Session]]:
    """Half of the sessions with STARTTLS, half with implicit TLS."""
    stop = threading.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(world.environment["INGEST_TLS_CERTIFICATE"])
    sessions = [Session(world, PORTS[number % 2], context, stop) for number in range(SESSIONS)]
    threads = [threading.Thread(target=one.run, daemon=True) for one in sessions]
    for thread in threads:
        thread.start()
    try:
        yield sessions
    finally:
        stop.set()
        world.recover()  # so that each can finish its message
        for thread in threads:
            thread.join()


def message(sender: str, recipient: str, *, seed: int) -> bytes:
    email = EmailMessage()
    email["From"], email["To"] = sender, recipient
    email["Subject"] = f"Your order {recipient}"
    email["Idempotency-Key"] = f"smtp-{seed}-{recipient}"
    email.set_content(f"Dear {recipient}, thank you for your order.\n" * 20)
    return email.as_bytes()
