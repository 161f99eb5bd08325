"""Clients of submission that do what they must not do."""

import asyncio
from collections.abc import Callable
from ssl import SSLError
from typing import TypeVar

import pytest

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.session_connection import Deadlines
from kernel.tls import CLOSE_S
from services.ingest.api.submission import listeners
from tests.support.ingest import DOMAIN, IngestHarness
from tests.support.stack import shared_harness_fixture
from tests.support.submission import SECOND, SMUGGLED, RawClient

harness = shared_harness_fixture(IngestHarness)
T = TypeVar("T")
ENVELOPE = f"MAIL FROM:<a@{DOMAIN}>\r\nRCPT TO:<b@one.example>\r\nDATA\r\n".encode()
MESSAGE = f"From: a@{DOMAIN}\r\nTo: b@one.example\r\n\r\nhello".encode()
SYNC = "554 5.5.0 Commands were sent together without permission (RFC 2920)"


async def in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


async def accepted(harness: IngestHarness) -> list[str]:
    """The recipients of the harness's tenant."""
    found = await harness.read_events(MessageAccepted)
    return [one.context.recipient for one in found if one.context.tenant_id == harness.tenant_id]


async def test_each_message_of_the_smuggling_corpus_is_one_message(harness: IngestHarness) -> None:
    harness.serve_submission()

    def send(end: bytes) -> list[str]:
        with RawClient(harness.ports.submission_tls, tls=True) as client:
            assert client.log_in(harness.key).startswith("235")
            client.send(ENVELOPE, 3)
            return client.send(MESSAGE + end + SECOND + b"\r\n.\r\nQUIT\r\n", 3)

    async with harness.shared():
        await harness.sign_up()
        for end in SMUGGLED:
            queued, bye, closed = await in_thread(lambda end=end: send(end))  # type: ignore[misc]
            assert (queued[:3], bye[:3], closed) == ("250", "221", ""), end
        assert await accepted(harness) == ["b@one.example"] * len(SMUGGLED)


async def test_nobody_relays(harness: IngestHarness) -> None:
    harness.serve_submission()

    def try_all() -> list[str]:
        found = []
        for recipient in (
            b"b@one.example",
            b"b%one.example@localhost",
            b"@localhost:b@one.example",
        ):
            with RawClient(harness.ports.submission_tls, tls=True) as client:
                client.reply()
                client.send(b"EHLO client\r\n")
                found += client.send(
                    b"MAIL FROM:<a@" + DOMAIN.encode() + b">\r\nRCPT TO:<" + recipient + b">\r\n", 2
                )
        with RawClient(harness.ports.submission, tls=False) as client:
            client.reply()
            client.send(b"EHLO client\r\n")
            found += client.send(b"MAIL FROM:<a@b.example>\r\n")
            found += client.send(b"AUTH PLAIN AGEAYg==\r\n")
            assert client.send(b"STARTTLS\r\nEHLO injected\r\n", 2) == [SYNC, ""]
        return found

    async with harness.shared():
        await harness.sign_up()
        assert {reply[:9] for reply in await in_thread(try_all)} == {"530 5.7.0"}
        assert await accepted(harness) == []


async def test_guessing_passwords_slows_down_and_the_owner_still_logs_in(
    harness: IngestHarness,
) -> None:
    harness.serve_submission()

    def log_in(key: str) -> str:
        with RawClient(harness.ports.submission_tls, tls=True) as client:
            return client.log_in(key)[:9]

    async with harness.shared():
        key = await harness.sign_up()
        assert await in_thread(lambda: log_in(key)) == "235 2.7.0"
        guesses = [f"{key[:-1]}{letter}" for letter in "abcdefghijklmnop" if letter != key[-1]]
        guesses += ["", "x", "'; --", "obm_test_" + "0" * 36]
        replies = [await in_thread(lambda one=one: log_in(one)) for one in guesses]  # type: ignore[misc]
        assert set(replies) <= {"535 5.7.8", "454 4.7.0", "501 5.5.2"}
        assert replies.count("535 5.7.8") <= 8
        assert await in_thread(lambda: log_in(key)) == "235 2.7.0"


async def test_a_client_that_sends_after_the_end_of_its_session_is_cut_off(
    harness: IngestHarness,
) -> None:
    """Over TLS the server waits for the client's end of TLS, and decrypts what comes before it."""
    harness.serve_submission()

    def send_on(port: int, *, implicit: bool) -> bool:
        with RawClient(port, tls=implicit) as client:
            if not implicit:
                client.reply()
                client.send(b"EHLO client\r\n")
                client.send(b"STARTTLS\r\n")
                client.start_tls()
            return client.flood(b"NOOP\r\n" * 1000, seconds=CLOSE_S + 15)

    async with harness.shared():
        assert await in_thread(lambda: send_on(harness.ports.submission_tls, implicit=True))
        assert await in_thread(lambda: send_on(harness.ports.submission, implicit=False))


async def test_a_full_disk_is_a_421(harness: IngestHarness) -> None:
    harness.serve_submission()
    harness.extra |= {"content_disk_free_ratio_min": 0.9999, "outbox_check_interval_s": 0.1}

    def send() -> list[str]:
        with RawClient(harness.ports.submission_tls, tls=True) as client:
            assert client.log_in(harness.key).startswith("235")
            return client.send(f"MAIL FROM:<a@{DOMAIN}>\r\n".encode(), 2)

    async with harness.running():
        await harness.sign_up()
        await asyncio.sleep(0.5)
        reply, closed = await in_thread(send)
        assert (reply[:9], closed) == ("421 4.3.2", "")


async def test_a_balancer_names_the_client(harness: IngestHarness) -> None:
    harness.serve_submission()
    harness.extra |= {
        "submission_proxies": ["127.0.0.0/8"], "submission_client_connections_max": 1
    }  # fmt: skip
    header = "PROXY TCP4 192.0.2.{} 10.0.0.1 5000 465\r\n"

    def connect() -> list[str]:
        port = harness.ports.submission_tls
        with (
            RawClient(port, tls=True, first=header.format(1).encode()) as one,
            RawClient(port, tls=True, first=header.format(2).encode()) as two,
        ):
            found = [one.log_in(harness.key), two.log_in(harness.key)]
            for first in (header.format(1).encode(), b""):
                with pytest.raises((SSLError, OSError)):
                    RawClient(port, tls=True, first=first)
            return found

    async with harness.running():
        await harness.sign_up()
        assert {reply[:3] for reply in await in_thread(connect)} == {"235"}


async def test_connections_of_a_client_are_bounded(harness: IngestHarness) -> None:
    harness.serve_submission()
    harness.extra["submission_client_connections_max"] = 3

    def connect() -> list[str]:
        clients = [RawClient(harness.ports.submission, tls=False) for _ in range(5)]
        greetings = [client.reply()[:3] for client in clients]
        for client in clients:
            client.__exit__()
        return greetings

    async with harness.running():
        assert sorted(await in_thread(connect)) == ["220", "220", "220", "421", "421"]
        await asyncio.sleep(0.2)
        with RawClient(harness.ports.submission, tls=False) as client:
            assert (await in_thread(client.reply))[:3] == "220"


async def test_slow_clients_are_cut_off(
    harness: IngestHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.serve_submission()
    monkeypatch.setattr(listeners, "DEADLINES", Deadlines(login_s=1.0, message_s=1.0))

    def send_slowly() -> list[str]:
        """An octet now and then, of a command and of a message."""
        with RawClient(harness.ports.submission, tls=False) as client:
            client.reply()
            for _ in range(15):
                client.send(b"E", 0)
                asyncio.run(asyncio.sleep(0.1))
            found = [client.reply()]
        with RawClient(harness.ports.submission_tls, tls=True) as client:
            client.log_in(harness.key)
            client.send(ENVELOPE, 3)
            for _ in range(15):
                client.send(b"x\r\n", 0)
                asyncio.run(asyncio.sleep(0.1))
            return [*found, client.reply()]

    async with harness.running():
        await harness.sign_up()
        replies = await in_thread(send_slowly)
        assert {reply[:9] for reply in replies} == {"421 4.4.2"}
        assert await accepted(harness) == []
