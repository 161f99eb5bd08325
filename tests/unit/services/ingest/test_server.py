"""The answer to an accepted email leaves in one write, by the rules of HTTP/1.1."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from services.ingest.api.http import (
    BODY_BYTES_MAX,
    Receive,
    Request,
    Scope,
    Send,
    body_of,
    send_accepted,
    send_response,
)
from services.ingest.api.http_app import App, HttpApp, send_problem
from services.ingest.api.server import HEAD_S, REQUEST_S, Protocol
from services.ingest.domain.problem import Problem

READ_BYTES = 64 * 1024
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

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope)
    try:
        await body_of(request, receive)
    except Problem as problem:
        await send_problem(request, send, problem, headers=[])
        return
    await send_accepted(request, send, BODY, headers=[(b"x-request-id", request.id.encode())])


def play(sent: bytes, served: App = app, *, reads: bool = True, stays: bool = True) -> Wire:
    """What comes back. reads: the client takes what is written. stays: it does not end at once."""

    async def story() -> Wire:
        config = uvicorn.Config(
            cast(Any, served), http=Protocol, ws="none", lifespan="off", log_config=None
        )
        config.load()
        wire = Wire()
        protocol = Protocol(config, ServerState(), {})
        protocol.connection_made(wire)
        if not reads:
            protocol.pause_writing()
        for at in range(0, len(sent), READ_BYTES):
            if not wire.closed:
                protocol.data_received(sent[at : at + READ_BYTES])
        if not stays:
            protocol.eof_received()
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


def test_a_client_that_left_is_written_nothing_more() -> None:
    assert play(POST, stays=False).writes == []


@pytest.mark.parametrize("coding", [b"gzip", b"identity", b"xchunked", b"gzip, chunked"])
def test_a_body_whose_end_nobody_can_tell_ends_the_connection(coding: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %b\r\n\r\n" % coding
    wire = play(head + b"0\r\n\r\n")
    assert wire.closed
    assert wire.writes[0].startswith(b"HTTP/1.1 501")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n", b"414"),
        (b"GET /" + b"a" * 70_000, b"414"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000, b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: %b\r\n" % (b"a" * 999) * 70 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200, b"431"),
        (b"\r\n" * 40_000, b"431"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", b"400"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (POST.replace(b"{}", b"").replace(b": 2", b": 2\r\nContent-Length: 3"), b"400"),
        (POST.replace(b": 2", b": 2, 3"), b"400"),
        (POST.replace(b": 2", b": +2"), b"400"),
        (POST.replace(b": 2", b": 2\r\nTransfer-Encoding: chunked"), b"400"),
        (POST.replace(b"Content", b"Transfer-Encoding: chunked\r\nContent"), b"400"),
        (POST.replace(b"Host: x", b"Host: x\r\nX: a\r\n b"), b"400"),
        (POST.replace(b"Host: x", b"Host: x\r\nX : a"), b"400"),
        (POST.replace(b"Host: x\r\n", b"Host: x\n"), b"400"),
    ],
)
def test_a_head_without_end_is_refused_as_it_comes_in(sent: bytes, status: bytes) -> None:
    wire = play(sent)
    assert wire.writes[0].startswith(b"HTTP/1.1 " + status)
    assert b'"statusCode":' + status in wire.writes[0]
    assert wire.closed


def test_a_client_of_http_1_0_needs_no_host() -> None:
    assert play(b"GET / HTTP/1.0\r\n\r\n").writes[0].startswith(b"HTTP/1.1 202")


def test_trailers_without_end_end_the_connection() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    assert play(head + b"X: " + b"a" * 200_000).closed
    assert play(head + b"X: a\r\n" * 200).closed


def test_a_body_that_is_larger_than_a_head_may_be_is_read() -> None:
    body = b"a" * 300_000
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert play(head + body).writes[0].startswith(b"HTTP/1.1 202")


@pytest.mark.parametrize("kind", [b"APPLICATION/JSON", b"Application/json ; charset=utf-8"])
def test_the_type_of_a_body_is_read_whatever_its_case(kind: bytes) -> None:
    _typed(kind).check_json()


def test_a_type_that_only_begins_like_json_is_refused() -> None:
    with pytest.raises(Problem):
        _typed(b"application/jsonx").check_json()


def test_a_body_that_says_it_is_too_large_is_refused_and_not_kept() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 50000000\r\n\r\n"
    wire = play(head)
    assert wire.writes[0].startswith(b"HTTP/1.1 413")
    assert b'"statusCode":413' in wire.writes[-1]
    assert wire.closed


def test_a_chunked_body_that_becomes_too_large_is_refused() -> None:
    chunk = b"%x\r\n%b\r\n" % (READ_BYTES, b"a" * READ_BYTES)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire = play(head + chunk * (BODY_BYTES_MAX // READ_BYTES + 1) + b"0\r\n\r\n")
    assert wire.writes[0].startswith(b"HTTP/1.1 413")
    assert wire.closed


@pytest.mark.parametrize(
    ("sent", "since_s", "answer"),
    [
        (b"", HEAD_S, b"HTTP/1.1 408"),
        (b"POST / HT", HEAD_S, b"HTTP/1.1 408"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n", HEAD_S, b"HTTP/1.1 408"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", REQUEST_S, b""),
    ],
)
def test_a_request_that_is_never_whole_is_ended(sent: bytes, since_s: float, answer: bytes) -> None:
    async def story() -> None:
        config = uvicorn.Config(app, http=Protocol, ws="none", lifespan="off", log_config=None)
        config.load()
        protocol, wire = Protocol(config, ServerState(), {}), Wire()
        protocol.connection_made(wire)
        protocol.data_received(sent)
        protocol._check_deadline()
        assert not wire.closed
        assert protocol._began_s is not None
        protocol._began_s -= since_s
        protocol._check_deadline()
        assert wire.closed
        assert b"".join(wire.writes).startswith(answer)
        protocol.connection_lost(None)
        await asyncio.gather(*protocol.tasks)

    asyncio.run(story())


def test_a_connection_too_many_is_told_so_and_closed() -> None:
    async def story() -> None:
        config = uvicorn.Config(app, http=Protocol, ws="none", lifespan="off", log_config=None)
        config.load()
        state, limited = ServerState(), type("Limited", (Protocol,), {"connections_max": 2})
        wires = [Wire() for _ in range(4)]
        protocols = [limited(config, state, {}) for _ in wires]
        for protocol, wire in list(zip(protocols, wires, strict=True))[:3]:
            protocol.connection_made(wire)
        assert [wire.closed for wire in wires[:3]] == [False, False, True]
        assert wires[2].writes[0].startswith(b"HTTP/1.1 503")
        assert b"\r\nretry-after: 2\r\n" in wires[2].writes[0]
        protocols[2].connection_lost(None)
        protocols[0].connection_lost(None)
        protocols[3].connection_made(wires[3])
        assert not wires[3].closed
        for protocol in (protocols[1], protocols[3]):
            protocol.connection_lost(None)

    asyncio.run(story())


def test_the_answer_to_head_has_no_body() -> None:
    async def domains(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["method"] == "GET"
        await send_response(send, 200, BODY, headers=[])

    nobody: Any = None
    [head, *rest] = play(POST.replace(b"POST", b"HEAD"), HttpApp(nobody, nobody, domains)).writes
    assert b"\r\ncontent-length: 10\r\n" in head
    assert b"".join(rest) == b""
    assert head.endswith(b"\r\n\r\n")


def _typed(kind: bytes) -> Request:
    return Request({"headers": [(b"content-type", kind)], "path": "/", "client": None})
