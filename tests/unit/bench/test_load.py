"""Loops and latencies of the load, with a fake clock."""

import asyncio
from collections.abc import Callable

import pytest
from typing_extensions import Buffer

from bench.load.driver import Connection, Driver, Plan
from bench.load.http import head, response_end
from bench.load.latency import percentile, summary
from bench.load.smtp import SmtpConnection
from bench.messages import variants


class FakeConnection(Connection):
    """Responds on request."""

    def __init__(self) -> None:
        self.carried: list[int] = []

    def send(self, serial: int) -> None:
        self.carried.append(serial)


class Bench:
    def __init__(self, plan: Plan) -> None:
        self.now = 0.0
        self.held: list[Callable[[], None]] = []
        self.driver = Driver(plan, lambda: self.now, lambda _, act: self.held.append(act))


def test_the_closed_loop_sends_after_each_response() -> None:
    bench, line = Bench(Plan(count=2)), FakeConnection()
    bench.driver.join(line)
    assert line.carried == []
    bench.driver.begin()
    bench.now = 0.25
    bench.driver.done(line, "accepted")
    bench.driver.done(line, "accepted")
    assert line.carried == [0, 1]
    assert bench.driver.ended.is_set()
    assert bench.driver.latencies.summary()["mean"] == pytest.approx(125)


def test_the_load_pauses_at_the_backlog_limit() -> None:
    bench, line = Bench(Plan(count=10, backlog=1)), FakeConnection()
    bench.driver.join(line)
    bench.driver.begin()
    bench.driver.done(line, "accepted")
    assert line.carried == [0]
    bench.driver.wake(delivered=1)
    assert line.carried == [0, 1]


def test_refused_messages_are_not_expected_at_the_sink() -> None:
    bench, line = Bench(Plan(count=10, backlog=1)), FakeConnection()
    bench.driver.join(line)
    bench.driver.begin()
    bench.driver.done(line, "status 503")
    assert line.carried == [0]
    bench.held.pop()()
    assert line.carried == [0, 1]


def test_latency_is_measured_from_the_due_time() -> None:
    bench, line = Bench(Plan(count=1, rate=100)), FakeConnection()
    bench.driver.begin()
    bench.driver.waiting.append((7, 0.0))
    bench.now = 0.5
    bench.driver.join(line)
    bench.now = 0.6
    bench.driver.done(line, "accepted")
    assert bench.driver.latencies.summary()["p50"] == pytest.approx(600)


def test_a_lost_connection_is_replaced_and_its_message_counts_as_lost() -> None:
    bench, line = Bench(Plan(count=10)), FakeConnection()
    replaced: list[bool] = []
    bench.driver.reconnect = lambda: replaced.append(True)
    bench.driver.join(line)
    bench.driver.begin()
    bench.driver.lost(line)
    assert bench.driver.outcomes["lost"] == 1
    assert replaced


def test_percentiles_are_samples_by_nearest_rank() -> None:
    ordered = [float(number) for number in range(1, 101)]
    assert (percentile(ordered, 50), percentile(ordered, 99)) == (50, 99)
    assert percentile([3.0], 99) == 3.0
    assert summary([]) == {}
    assert summary([0.001, 0.003]) == {"mean": 2.0, "p50": 1.0, "p99": 3.0}


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_the_end_of_a_response_follows_its_framing(response: bytes) -> None:
    assert response_end(response) == len(response)
    assert response_end(response[:-1]) == 0


def test_the_request_header_has_the_length_of_the_body() -> None:
    sent = head("h:1", "/v1/emails", "k") % 12
    assert b"\r\nContent-Length: 12\r\n\r\n" in sent


class FakeTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Buffer) -> None:
        self.written += bytes(data)


def test_an_smtp_session_logs_in_before_its_first_message() -> None:
    bench, transport = Bench(Plan(count=1)), FakeTransport()
    line = SmtpConnection(bench.driver, variants(["inbox00.bench.test"]), key="obm_live_x")
    line.connection_made(transport)
    line.data_received(b"220 mx.example ESMTP\r\n250-mx.example\r\n250 AUTH PLAIN\r\n")
    assert transport.written.endswith(b"AUTH PLAIN AGtleQBvYm1fbGl2ZV94\r\n")
    bench.driver.begin()
    assert b"MAIL" not in transport.written
    line.data_received(b"235 2.7.0 Welcome\r\n")
    assert b"MAIL FROM:<" in transport.written
