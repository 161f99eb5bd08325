"""The SMTP dialogue of an attempt: each command with its reply, whatever a server replies."""

import asyncio
from typing import cast

from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from contracts.router.v1.events_pb2 import DeliveryAssigned
from mail import address
from services.delivery.clients.smtp.session import EhloExtensions, SmtpSession
from services.delivery.clients.smtp.timeouts import SmtpTimeouts
from services.delivery.domain.attempt_result import ReceivingServer, attempted_event
from services.delivery.domain.rendering import WireMessage
from tests.unit.services.delivery.test_session import Wire

CONTENT = b"Secret content\r\n"
EXCHANGES_MAX = 10  # RSET and the envelope twice, without DSN the second time, and end of data


async def attempt(
    replies: list[bytes], *, pipelining: bool = True, recipient: str = "friend@receiver.example"
) -> DeliveryAttempted:
    """The event of an attempt. replies: sent one by one, then the connection is lost."""
    wire = Wire()
    session = SmtpSession(
        cast(asyncio.Transport, wire),
        peer=ReceivingServer(),
        port=25,
        extensions=EhloExtensions(pipelining, utf8=True, dsn=True),
        timeouts=SmtpTimeouts(),
    )
    loop = asyncio.get_running_loop()

    def feed(number: int = 0) -> None:
        if number < len(replies):
            session.data_received(replies[number])
            loop.call_soon(lambda: loop.call_soon(feed, number + 1))
        else:
            session.connection_lost(None)

    loop.call_soon(feed)
    box = address.parse_mailbox(recipient)
    message = WireMessage(None, box, wire=CONTENT, size=16, utf8=True, envelope_id="m1")
    result = await session.send_envelope(message) or await session.send_body(message)
    result = result or session.end_data() or await session.read_final_reply()
    return attempted_event(DeliveryAssigned(), result, at_ms=0)


def dialogue(event: DeliveryAttempted) -> list[tuple[str, int, str]]:
    return [(one.command.partition(" ")[0], one.code, one.reply) for one in event.dialogue]


async def test_a_delivered_message_has_each_command_with_its_reply() -> None:
    lines = [b"250 2.1.0 Ok\r\n", b"250 2.1.5 Ok\r\n", b"354 Go on\r\n"]
    for pipelining in (True, False):
        event = await attempt([*lines, b"250 2.0.0 queued as 1\r\n"], pipelining=pipelining)
        assert dialogue(event) == [
            ("MAIL", 250, "2.1.0 Ok"),
            ("RCPT", 250, "2.1.5 Ok"),
            ("DATA", 354, "Go on"),
            (".", 250, "2.0.0 queued as 1"),
        ]
        assert "friend@receiver.example" in event.dialogue[1].command
        assert "Secret" not in str(event)


async def test_a_refusal_and_what_followed_it_are_in_the_dialogue() -> None:
    replies = b"250 Ok\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n503 no recipients\r\n"
    event = await attempt([replies])
    assert dialogue(event) == [
        ("MAIL", 250, "Ok"),
        ("RCPT", 550, "5.1.1 no such user"),
        ("DATA", 503, "no recipients"),
    ]


async def test_a_command_without_a_reply_is_the_last_one() -> None:
    event = await attempt([b"250 Ok\r\n"])
    assert dialogue(event) == [("MAIL", 250, "Ok"), ("RCPT", 0, "")]
    assert event.reply.text


async def test_a_reply_during_the_content_has_no_command() -> None:
    event = await attempt([b"250 Ok\r\n250 Ok\r\n354 Go on\r\n421 4.3.2 closing\r\n"])
    assert dialogue(event)[-1] == ("", 421, "4.3.2 closing")


async def test_another_message_has_a_dialogue_of_its_own() -> None:
    """A refused message leaves nothing in the next one's."""
    event = await attempt(
        [b"501 no parameters\r\n" * 3 + b"250 Ok\r\n" * 3, b"354 Go\r\n250 Ok\r\n"]
    )
    assert [name for name, *_ in dialogue(event)][:4] == ["MAIL", "RCPT", "DATA", "RSET"]
    assert len(event.dialogue) <= EXCHANGES_MAX


TEXT = (
    st.binary(max_size=80) | st.just(b"x" * 5_000) | st.sampled_from([b"\x1b[31m", b"\xe2\x80\xa8"])
)
LINE = st.builds(
    lambda code, mark, text: b"%d%b%b\r\n" % (code, mark, text),
    st.sampled_from([220, 250, 354, 421, 450, 501, 503, 550, 999]),
    st.sampled_from([b" ", b"-", b""]),
    TEXT,
)


@given(
    replies=st.lists(st.lists(LINE | st.binary(max_size=50), max_size=6).map(b"".join), max_size=6)
)
def test_whatever_a_server_replies_is_bounded_and_printable(replies: list[bytes]) -> None:
    event = asyncio.run(attempt(replies))
    assert len(event.dialogue) <= EXCHANGES_MAX
    for one in event.dialogue:
        assert len(one.command) <= 512
        assert len(one.reply) <= 512
        assert all(char.isprintable() or char in " \t" for char in one.command)
        assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in one.reply)
    assert event.ByteSize() < 48_000
    assert "Secret" not in str(MessageToDict(event))
