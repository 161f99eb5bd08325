"""The answer to an accepted email leaves in one write, by the rules of HTTP/1.1."""

import asyncio
from collections.abc import Sequence
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from services.ingest.api.http import Receive, Request, Scope, Send, accepted, body_of
from services.ingest.api.server import Protocol

BODY = b'{"id":"1"}'
POST = b"POST /v1/emails HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
CLOSING = POST.replace(b"Host: x", b"Host: x\r\nConnection: close")


class Wire(asyncio.Transport):
    """Notes what is written."""

    def __init__(self, writes: Sequence[bytes] = (), *, closed: bool = False) -> None:
        super().__init__({"peername": ("192.0.2.1", 5), "sockname": ("192.0.2.2", 80)})
        self.writes = list(writes)
        self.closed = closed

    def write(self, data: Any) -> None:  # noqa: ANN401 - bytes of any kind
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope)
    await body_of(request, receive)
    await accepted(request, send, BODY, headers=[(b"x-request-id", request.id.encode())])


def play(sent: bytes, *, reads: bool = True) -> Wire:
    """What comes back. reads: the client takes what is written."""

    async def story() -> Wire:
        config = uvicorn.Config(app, http=Protocol, ws="none", lifespan="off", log_config=None)
        config.load()
        wire = Wire()
        protocol = Protocol(config, ServerState(), {})
        protocol.connection_made(wire)
        if not reads:
            protocol.pause_writing()
        protocol.data_received(sent)
        for _ in range(20):
            await asyncio.sleep(0)
        seen = Wire(list(wire.writes), closed=wire.closed)
        protocol.connection_lost(None)
        await asyncio.gather(*protocol.tasks)
        return seen

    return asyncio.run(story())


def test_head_and_body_are_one_write() -> None:
    [answer] = (wire := play(POST)).writes
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 202 Accepted\r\n")
    assert b"\r\ncontent-length: 10" in head
    assert b"\r\nx-request-id: req_" in head
    assert body == BODY
    assert not wire.closed


def test_a_client_that_asks_for_it_is_closed_after_its_answer() -> None:
    wire = play(CLOSING)
    assert b"\r\nconnection: close\r\n" in wire.writes[0]
    assert wire.closed


def test_pipelined_requests_are_answered_one_by_one() -> None:
    assert len(play(POST * 3).writes) == 3


def test_a_client_that_does_not_read_is_written_nothing_more() -> None:
    assert play(POST, reads=False).writes == []
