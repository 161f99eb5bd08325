"""The HTTP server: responses in one write, limits, RFC 9112."""

import asyncio
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from kernel.brand import Brands
from kernel.http_server import HEAD_S, REQUEST_S, App, HttpProtocol, Receive, Scope, Send
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.http import (
    BODY_BYTES_MAX,
    Request,
    read_body,
    send_accepted,
    send_response,
)
from services.ingest.api.http_app import HttpApp, send_problem
from services.ingest.api.refusals import refusal_of
from services.ingest.api.request_log import RequestRecorder
from services.ingest.domain.problem import Problem
from tests.support.fake_transport import FakeTransport
from tests.support.garbage import cyclic_garbage
from tests.support.rest_api import call_api

READ_BYTES = 64 * 1024
Refusing = type("Refusing", (HttpProtocol,), {"refusal": staticmethod(refusal_of(Brands()))})
BODY = b'{"id":"1"}'
POST = b"POST /v1/emails HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
CLOSING = POST.replace(b"Host: x", b"Host: x\r\nConnection: close")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, Brands())
    try:
        await read_body(request, receive)
    except Problem as problem:
        await send_problem(request, send, problem, headers=[])
        return
    await send_accepted(request, send, BODY, headers=[(b"x-request-id", request.id.encode())])


def exchange(
    sent: bytes, application: App = app, *, reads: bool = True, stays: bool = True
) -> FakeTransport:
    """The bytes of the responses. reads: the client reads them. stays: it keeps the connection
    open."""

    async def scenario() -> FakeTransport:
        config = uvicorn.Config(
            cast(Any, application), http=Refusing, ws="none", lifespan="off", log_config=None
        )
        config.load()
        transport = FakeTransport()
        protocol = Refusing(config, ServerState(), {})
        protocol.connection_made(transport)
        if not reads:
            protocol.pause_writing()
        for at in range(0, len(sent), READ_BYTES):
            if not transport.closed:
                protocol.data_received(sent[at : at + READ_BYTES])
        if not stays:
            protocol.eof_received()
        for _ in range(20):
            await asyncio.sleep(0)
        seen = FakeTransport(list(transport.writes), closed=transport.closed)
        protocol.connection_lost(None)
        await asyncio.gather(*protocol.tasks)
        return seen

    return asyncio.run(scenario())


def test_header_and_body_are_one_write() -> None:
    [response] = (transport := exchange(POST)).writes
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 202 Accepted\r\n")
    assert b"\r\ncontent-length: 10" in head
    assert b"\r\nx-request-id: req_" in head
    assert body == BODY
    assert not transport.closed


def test_a_request_is_freed_without_the_garbage_collector() -> None:
    exchange(POST)  # what only the first request needs
    with cyclic_garbage() as found:
        exchange(POST * 3)
    assert not [one for one in found if isinstance(one, RequestResponseCycle)]


@pytest.mark.parametrize("path", ["/v1/none", "/v1/domains"])
def test_a_request_of_any_route_is_freed_likewise(path: str) -> None:
    call_api("GET", path)
    with cyclic_garbage() as found:
        call_api("GET", path)
    assert not [one for one in found if isinstance(one, Request)]


def test_connection_close_closes_after_the_response() -> None:
    transport = exchange(CLOSING)
    assert b"\r\nconnection: close\r\n" in transport.writes[0]
    assert transport.closed


def test_pipelined_requests_are_answered_in_order() -> None:
    assert len(exchange(POST * 3).writes) == 3


def test_nothing_more_is_written_to_a_client_that_does_not_read() -> None:
    assert exchange(POST, reads=False).writes == []


def test_nothing_more_is_written_to_a_client_that_disconnected() -> None:
    assert exchange(POST, stays=False).writes == []


@pytest.mark.parametrize("coding", [b"gzip", b"identity", b"xchunked", b"gzip, chunked"])
def test_a_body_of_unknown_length_closes_the_connection(coding: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %b\r\n\r\n" % coding
    transport = exchange(head + b"0\r\n\r\n")
    assert transport.closed
    assert transport.writes[0].startswith(b"HTTP/1.1 501")


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
def test_an_endless_header_is_refused_as_it_arrives(sent: bytes, status: bytes) -> None:
    transport = exchange(sent)
    assert transport.writes[0].startswith(b"HTTP/1.1 " + status)
    assert b'"statusCode":' + status in transport.writes[0]
    assert transport.closed


def test_http_1_0_requires_no_host() -> None:
    assert exchange(b"GET / HTTP/1.0\r\n\r\n").writes[0].startswith(b"HTTP/1.1 202")


def test_endless_trailers_close_the_connection() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    assert exchange(head + b"X: " + b"a" * 200_000).closed
    assert exchange(head + b"X: a\r\n" * 200).closed


def test_a_body_can_be_larger_than_the_header_limit() -> None:
    body = b"a" * 300_000
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert exchange(head + body).writes[0].startswith(b"HTTP/1.1 202")


@pytest.mark.parametrize("kind", [b"APPLICATION/JSON", b"Application/json ; charset=utf-8"])
def test_the_content_type_is_case_insensitive(kind: bytes) -> None:
    _typed(kind).check_json()


def test_a_content_type_that_only_starts_like_json_is_refused() -> None:
    with pytest.raises(Problem):
        _typed(b"application/jsonx").check_json()


def test_a_body_with_a_too_large_content_length_is_refused_and_not_buffered() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 50000000\r\n\r\n"
    transport = exchange(head)
    assert transport.writes[0].startswith(b"HTTP/1.1 413")
    assert b'"statusCode":413' in transport.writes[-1]
    assert transport.closed


def test_a_chunked_body_that_becomes_too_large_is_refused() -> None:
    chunk = b"%x\r\n%b\r\n" % (READ_BYTES, b"a" * READ_BYTES)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    transport = exchange(head + chunk * (BODY_BYTES_MAX // READ_BYTES + 1) + b"0\r\n\r\n")
    assert transport.writes[0].startswith(b"HTTP/1.1 413")
    assert transport.closed


@pytest.mark.parametrize(
    ("sent", "since_s", "response"),
    [
        (b"", HEAD_S, b"HTTP/1.1 408"),
        (b"POST / HT", HEAD_S, b"HTTP/1.1 408"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n", HEAD_S, b"HTTP/1.1 408"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", REQUEST_S, b""),
    ],
)
async def test_an_incomplete_request_times_out(
    sent: bytes, since_s: float, response: bytes
) -> None:
    config = uvicorn.Config(app, http=HttpProtocol, ws="none", lifespan="off", log_config=None)
    config.load()
    protocol, transport = HttpProtocol(config, ServerState(), {}), FakeTransport()
    protocol.connection_made(transport)
    protocol.data_received(sent)
    protocol._check_deadline()
    assert not transport.closed
    assert protocol._began_s is not None
    protocol._began_s -= since_s
    protocol._check_deadline()
    assert transport.closed
    assert b"".join(transport.writes).startswith(response)
    protocol.connection_lost(None)
    await asyncio.gather(*protocol.tasks)


async def test_a_connection_over_the_limit_gets_503_and_is_closed() -> None:
    config = uvicorn.Config(app, http=HttpProtocol, ws="none", lifespan="off", log_config=None)
    config.load()
    state, limited = ServerState(), type("Limited", (HttpProtocol,), {"connections_max": 2})
    wires = [FakeTransport() for _ in range(4)]
    protocols = [limited(config, state, {}) for _ in wires]
    for protocol, transport in list(zip(protocols, wires, strict=True))[:3]:
        protocol.connection_made(transport)
    assert [transport.closed for transport in wires[:3]] == [False, False, True]
    assert wires[2].writes[0].startswith(b"HTTP/1.1 503")
    assert b"\r\nretry-after: 2\r\n" in wires[2].writes[0]
    protocols[2].connection_lost(None)
    protocols[0].connection_lost(None)
    protocols[3].connection_made(wires[3])
    assert not wires[3].closed
    for protocol in (protocols[1], protocols[3]):
        protocol.connection_lost(None)


def test_the_response_to_head_has_no_body() -> None:
    async def domains(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["method"] == "GET"
        await send_response(send, 200, BODY, headers=[])

    nobody: Any = None
    [head, *rest] = exchange(
        POST.replace(b"POST", b"HEAD"),
        HttpApp(
            nobody,
            nobody,
            domains,
            brands=BrandResolver(Brands(), lambda _: None),
            recorder=RequestRecorder(lambda _: None),
        ),
    ).writes
    assert b"\r\ncontent-length: 10\r\n" in head
    assert b"".join(rest) == b""
    assert head.endswith(b"\r\n\r\n")


def _typed(kind: bytes) -> Request:
    return Request({"headers": [(b"content-type", kind)], "path": "/", "client": None}, Brands())


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        POST.replace(b"Host: x", b"Host: x\r\nConnection: upgrade\r\nUpgrade: websocket"),
    ],
)
def test_what_strangers_send_is_not_logged(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A line for each would let them fill a disk."""
    exchange(sent)
    assert caplog.records == []
