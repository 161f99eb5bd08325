"""A connection around an SMTP session, without a network."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from kernel import session_connection
from kernel.session_connection import (
    UNREAD_MAX,
    ConnectionConfig,
    Deadlines,
    SessionConnection,
)
from mail.smtp_server import ServerSession
from mail.smtp_server_events import (
    Event,
    Login,
    MessageReceived,
    RecipientGiven,
    SenderGiven,
    ServerConfig,
)
from tests.support.submission import ENVELOPE, LOGIN

MESSAGE = b"From: a@a.example\r\n\r\nhello\r\n.\r\n"
DEADLINES = Deadlines()
GROUP = b"250 Ok\r\n250 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"


class Transport:
    """Keeps what is written, and whether reading is paused."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_reading = True
        self.is_closed = False

    def write(self, data: bytes) -> None:
        if self.is_closed:
            raise RuntimeError("the handler is closed")  # as uvloop
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading
        self.is_reading = True

    def get_extra_info(self, _: str) -> None:
        return None

    def close(self) -> None:
        self.is_closed = True


class FakeSubmitter:
    """known: whether the sender's domain is in memory. accepting: a message is accepted once it is
    set."""

    hostname = ""

    def __init__(self) -> None:
        self.known = True
        self.accepting = asyncio.Event()
        self.accepting.set()
        self.waited: list[type[Event]] = []
        self.messages: list[bytes] = []

    def respond_now(self, event: Event) -> str:
        is_known = isinstance(event, RecipientGiven) or (
            isinstance(event, SenderGiven) and self.known
        )
        return "250 Ok" if is_known else ""

    async def respond(self, event: Event) -> str:
        self.waited.append(type(event))
        if isinstance(event, MessageReceived):
            await self.accepting.wait()
            self.messages.append(event.content)
        return "235 Ok" if isinstance(event, Login) else "250 Ok"

    def reserve(self, octets: int) -> str:
        return ""

    def close(self) -> None:
        pass


class Client:
    """A client that has logged in."""

    def __init__(self, deadlines: Deadlines) -> None:
        self.submitter = FakeSubmitter()
        self.transport = Transport()
        config = ServerConfig("mx.example.net", octets_max=1_000_000)
        self.connection: SessionConnection[Event] = SessionConnection(
            ServerSession(config, secure=True),
            self.submitter,
            ConnectionConfig(None, deadlines=deadlines),
        )
        self.connection.connection_made(cast(Any, self.transport))

    async def send(self, data: bytes) -> list[bytes]:
        """What the server writes until it waits."""
        self.transport.written.clear()
        self.connection.data_received(data)
        for _ in range(5):
            await asyncio.sleep(0)
        return list(self.transport.written)


@asynccontextmanager
async def logged_in(deadlines: Deadlines = DEADLINES) -> AsyncIterator[Client]:
    client = Client(deadlines)
    task = asyncio.create_task(client.connection.run())
    await client.send(b"EHLO client\r\n")
    [reply] = await client.send(LOGIN)
    assert reply.startswith(b"235")
    client.submitter.waited.clear()
    yield client
    client.connection.connection_lost(None)
    async with asyncio.timeout(10):
        await task
    assert client.transport.is_closed


async def test_a_group_of_commands_is_answered_at_once_in_one_write() -> None:
    async with logged_in() as client:
        client.connection.data_received(ENVELOPE + b"DATA\r\n")
        assert client.transport.written[-1] == GROUP
        assert await client.send(MESSAGE) == [b"250 Ok\r\n"]
        assert client.submitter.waited == [MessageReceived]
        assert await client.send(b"QUIT\r\n") == [b"221 2.0.0 Bye\r\n"]


async def test_a_sender_whose_domain_must_be_looked_up_waits() -> None:
    async with logged_in() as client:
        client.submitter.known = False
        assert b"".join(await client.send(ENVELOPE + b"DATA\r\n")) == GROUP
        assert client.submitter.waited == [SenderGiven]


async def test_octets_wait_while_a_message_is_accepted() -> None:
    async with logged_in() as client:
        await client.send(ENVELOPE + b"DATA\r\n")
        client.submitter.accepting.clear()
        assert await client.send(MESSAGE + ENVELOPE) == []
        assert client.transport.is_reading
        assert await client.send(b"NOOP " + b"x" * UNREAD_MAX) == []
        assert not client.transport.is_reading
        client.submitter.accepting.set()
        replies = b"".join(await client.send(b""))
        assert replies.startswith(b"250 Ok\r\n250 Ok\r\n250 Ok\r\n")
        assert len(client.submitter.messages) == 1


async def test_a_client_that_does_not_read_is_not_read() -> None:
    async with logged_in() as client:
        client.connection.pause_writing()
        assert not client.transport.is_reading
        assert await client.send(b"NOOP\r\n") == []
        client.connection.resume_writing()
        assert client.transport.is_reading
        assert client.transport.written == [b"250 2.0.0 Ok\r\n"]


@pytest.mark.parametrize("deadlines", [Deadlines(command_s=0.05), Deadlines(session_s=0.05)])
async def test_a_client_that_is_too_slow_is_cut_off(deadlines: Deadlines) -> None:
    async with logged_in(deadlines) as client:
        async with asyncio.timeout(10):
            while not client.transport.is_closed:
                await asyncio.sleep(0.01)
        assert client.transport.written[-1].startswith(b"421 4.4.2")


async def test_a_message_that_takes_long_to_accept_is_not_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_connection, "BUSY_CHECK_S", 0.01)
    async with logged_in(Deadlines(message_s=0.05)) as client:
        await client.send(ENVELOPE + b"DATA\r\n")
        client.submitter.accepting.clear()
        await client.send(MESSAGE)
        await asyncio.sleep(0.2)
        client.submitter.accepting.set()
        assert await client.send(b"NOOP\r\n") == [b"250 Ok\r\n250 2.0.0 Ok\r\n"]


async def test_a_stop_lets_the_message_arrive() -> None:
    async with logged_in() as client:
        await client.send(ENVELOPE + b"DATA\r\n")
        client.connection.stop()
        assert not client.transport.is_closed
        [replies] = await client.send(MESSAGE)
        assert replies == b"250 Ok\r\n421 4.3.2 The service is stopping\r\n"
        assert client.transport.is_closed


async def test_a_stop_ends_an_idle_session() -> None:
    async with logged_in() as client:
        client.connection.stop()
        assert client.transport.written[-1].startswith(b"421 4.3.2")


async def test_a_lost_connection_ends_even_if_the_client_did_not_read() -> None:
    async with logged_in() as client:
        client.connection.pause_writing()
        await client.send(b"NOOP\r\n")


async def test_a_client_that_is_gone_gets_no_reply() -> None:
    async with logged_in() as client:
        client.submitter.accepting.clear()
        client.connection.data_received(ENVELOPE + b"DATA\r\n")
        await client.send(MESSAGE)
        client.transport.is_closed = True
        client.submitter.accepting.set()
        assert await client.send(b"") == []
