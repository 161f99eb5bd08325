"""The sink's SMTP, byte by byte, without a network."""

import asyncio

import pytest

from bench.sink.script import Action, Script
from bench.sink.session import Session, SinkContext
from bench.sink.tally import Tally

MESSAGE = b"Message-ID: <1@x>\r\nX-Run-Id: seven\r\n\r\nHello\r\n"
ENVELOPE = b"MAIL FROM:<a@x>\r\nRCPT TO:<%b>\r\nDATA\r\n"


class FakeTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: "bytes | bytearray | memoryview[int]") -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def codes(self) -> list[bytes]:
        lines = b"".join(self.written).splitlines()
        self.written.clear()
        return [line[:3] for line in lines if line[3:4] == b" "]


class Client:
    def __init__(self) -> None:
        self.tally = Tally(sample_every=1)
        self.script = Script()
        self.wire = FakeTransport()
        self.session = Session(
            SinkContext(self.tally, self.script, lambda: 5.0, SinkContext.hello(0))
        )
        self.session.connection_made(self.wire)
        self.send(b"EHLO me\r\n")

    def send(self, data: bytes) -> list[bytes]:
        self.session.data_received(data)
        return self.wire.codes()

    def deliver(self, recipient: bytes, body: bytes = MESSAGE) -> list[bytes]:
        return self.send(ENVELOPE % recipient) + self.send(body + b".\r\n")


@pytest.fixture
def client() -> Client:
    return Client()


def test_pipelined_envelope_and_next_message_are_answered_in_one_write(client: Client) -> None:
    assert client.send(ENVELOPE % b"b@y") == [b"250", b"250", b"354"]
    client.session.data_received(MESSAGE + b".\r\n" + ENVELOPE % b"c@y")
    assert len(client.wire.written) == 1
    assert client.wire.codes() == [b"250", b"250", b"250", b"354"]


def test_a_message_in_single_bytes_is_the_same_message(client: Client) -> None:
    for byte in ENVELOPE % b"b@y" + MESSAGE + b".\r\n":
        client.session.data_received(bytes([byte]))
    assert client.tally.copies == {("b@y", "<1@x>"): 1}
    assert client.tally.sample == [MESSAGE]


def test_dot_stuffing_is_removed_and_does_not_end_the_message(client: Client) -> None:
    client.deliver(b"b@y", b"..first\r\n\r\n..\r\n...two\r\n")
    assert client.tally.sample == [b".first\r\n\r\n.\r\n..two\r\n"]


def test_an_empty_message_ends_at_its_first_line(client: Client) -> None:
    assert client.deliver(b"b@y", b"")[-1] == b"250"
    assert client.tally.messages == 1


def test_a_second_copy_is_a_duplicate(client: Client) -> None:
    client.deliver(b"b@y")
    client.deliver(b"b@y")
    stats = client.tally.stats()
    assert (stats["messages"], stats["unique"], stats["duplicates"]) == (2, 1, 1)


def test_data_without_recipient_is_refused(client: Client) -> None:
    assert client.send(b"DATA\r\n") == [b"503"]


def test_defer_twice_then_accept(client: Client) -> None:
    replies = [client.send(b"RCPT TO:<defer2+x@y>\r\n")[0] for _ in range(3)]
    assert replies == [b"451", b"451", b"250"]


def test_bounce_after_end_of_data_counts_no_message(client: Client) -> None:
    assert client.deliver(b"bouncedata+x@y")[-1] == b"554"
    assert client.tally.messages == 0


def test_cut_counts_the_message_and_sends_no_reply(client: Client) -> None:
    assert client.deliver(b"cut1+x@y") == [b"250", b"250", b"354"]
    assert client.wire.closed
    assert client.tally.messages == 1


def test_cut_at_data_counts_nothing_but_sends_pending_replies(client: Client) -> None:
    assert client.send(ENVELOPE % b"cutdata+x@y") == [b"250", b"250"]
    assert client.wire.closed
    assert client.tally.messages == 0


def test_hang_counts_the_message_and_keeps_the_connection_open(client: Client) -> None:
    client.deliver(b"hang+x@y")
    assert client.send(b"NOOP\r\n") == []
    assert not client.wire.closed
    assert client.tally.messages == 1


def test_a_rule_for_a_domain_overrides_the_local_part(client: Client) -> None:
    client.script.rule("y", Action.DEFER)
    assert client.send(b"RCPT TO:<b@y>\r\n") == [b"451"]
    client.script.rule("*", Action.ACCEPT)
    assert client.send(b"RCPT TO:<b@y>\r\n") == [b"250"]


def test_an_endless_line_closes_the_connection(client: Client) -> None:
    assert client.send(b"x" * 5000) == [b"500"]
    assert client.wire.closed
