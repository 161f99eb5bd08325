"""SMTP sessions after EHLO: timeouts, replies and delivery status notifications."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import pytest

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_TEMPORARY
from mail import address
from services.delivery.clients.smtp.session import EhloExtensions, SmtpSession
from services.delivery.clients.smtp.timeouts import SmtpTimeouts
from services.delivery.domain.attempt_result import (
    DATA,
    END_OF_DATA,
    MAIL,
    RCPT,
    AttemptResult,
    ReceivingServer,
    outcome_of,
)
from services.delivery.domain.host_policy import is_stale_connection
from services.delivery.domain.rendering import WireMessage

LONG_S, SHORT_S = 60.0, 0.05
ACCEPTED = b"250 Ok\r\n250 Ok\r\n354 Go on\r\n"


class Wire:
    """An open transport that records what was written."""

    def __init__(self) -> None:
        self.sent = b""
        self.aborted = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...

    def is_closing(self) -> bool:
        return self.aborted

    def write(self, data: bytes) -> None:
        self.sent += data

    def abort(self) -> None:
        self.aborted = True


Scenario = Callable[[SmtpSession], Awaitable[None]]


def wire_message() -> WireMessage:
    friend = address.parse_mailbox("friend@receiver.example")
    return WireMessage(None, friend, wire=b"Hello\r\n", size=7, utf8=False, envelope_id="m1")


def run_scenario(
    scenario: Scenario,
    *,
    mail_s: float = LONG_S,
    data_done_s: float = LONG_S,
    data_xfer_s: float = LONG_S,
    on_dsn_refused: Callable[[], None] = lambda: None,
) -> SmtpSession:
    async def main() -> SmtpSession:
        times = replace(
            SmtpTimeouts(), mail_s=mail_s, data_done_s=data_done_s, data_xfer_s=data_xfer_s
        )
        wire = cast(asyncio.Transport, Wire())
        session = SmtpSession(
            wire,
            peer=ReceivingServer(),
            port=25,
            extensions=EhloExtensions(True, dsn=True),
            timeouts=times,
            on_dsn_refused=on_dsn_refused,
        )
        async with asyncio.timeout(10):
            await scenario(session)
        return session

    return asyncio.run(main())


def feed_later(session: SmtpSession, text: bytes, *, in_s: float = 0.0) -> None:
    asyncio.get_running_loop().call_later(in_s, session.data_received, text)


def test_a_short_timeout_after_a_long_one_is_short() -> None:
    async def scenario(session: SmtpSession) -> None:
        feed_later(session, ACCEPTED)
        assert await session.send_envelope(wire_message()) is None
        result = await session.read_final_reply()
        assert (result.step, result.reply) == (END_OF_DATA, None)
        assert result.problem == "no reply within 0.05 s"

    run_scenario(scenario, mail_s=LONG_S, data_done_s=SHORT_S)


def test_a_long_timeout_after_a_short_one_is_long() -> None:
    async def scenario(session: SmtpSession) -> None:
        feed_later(session, ACCEPTED)
        assert await session.send_envelope(wire_message()) is None
        feed_later(session, b"250 Ok\r\n", in_s=4 * SHORT_S)
        result = await session.read_final_reply()
        assert result.reply is not None
        assert result.reply.code == 250

    assert run_scenario(scenario, mail_s=SHORT_S, data_done_s=LONG_S).is_usable


def test_an_idle_session_between_two_messages_does_not_time_out() -> None:
    async def scenario(session: SmtpSession) -> None:
        feed_later(session, ACCEPTED + b"250 Ok\r\n")
        assert await session.send_envelope(wire_message()) is None
        await session.read_final_reply()
        await asyncio.sleep(2 * SHORT_S)  # the timer fires, but no one waits for a reply

    assert run_scenario(scenario, mail_s=SHORT_S, data_done_s=SHORT_S).is_usable


def test_a_server_that_never_replies_times_out() -> None:
    async def scenario(session: SmtpSession) -> None:
        result = await session.send_envelope(wire_message())
        assert result is not None
        assert (result.step, result.problem) == (MAIL, "no reply within 0.05 s")

    assert not run_scenario(scenario, mail_s=SHORT_S, data_done_s=LONG_S).is_usable


def test_a_server_that_stops_reading_times_out_before_end_of_data() -> None:
    async def scenario(session: SmtpSession) -> None:
        feed_later(session, ACCEPTED)
        assert await session.send_envelope(wire_message()) is None
        session.pause_writing()
        result = await session.send_body(wire_message())
        assert result is not None
        assert (result.step, result.problem) == (DATA, "the server stopped reading")

    assert not run_scenario(scenario, data_xfer_s=SHORT_S).is_usable


def test_8bitmime_is_announced_for_a_message_with_utf8_headers() -> None:
    async def scenario(session: SmtpSession) -> None:
        session.extensions = EhloExtensions(True, utf8=True, eight_bit=True)
        feed_later(session, ACCEPTED)
        await session.send_envelope(replace(wire_message(), utf8=True))

    assert commands_of(run_scenario(scenario))[0] == b"MAIL FROM:<> BODY=8BITMIME SMTPUTF8"


# ── replies ─────────────────────────────────────────────────────────────────────────────────────

BAD_SYNTAX = b"250 a\r\n501-5.1.3 no\r\n501 no\r\n503 no\r\n"
REPLIES = {
    "accepted": (ACCEPTED, b"250 2.0.0 queued\r\n"),
    "many lines": (b"250-a\r\n250 b\r\n250-c\r\n250 d\r\n354 go\r\n", b"250-2.0.0 a\r\n250 b\r\n"),
    "bare LF": (ACCEPTED.replace(b"\r\n", b"\n"), b"250 ok\n"),
    "empty lines": (b"\r\n" + ACCEPTED.replace(b"\r\n", b"\r\n\r\n"), b"\r\n250 ok\r\n\r\n"),
    "lines without a code": (b"hm\r\n" + ACCEPTED, b"one moment\r\n250 ok\r\n"),
    "no recipient": (b"250 Ok\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n503 no\r\n", b""),
    "an empty line behind a refusal": (b"250 Ok\r\n550 5.1.1 no\r\n\r\n503 no\r\n", b""),
    "codes that differ": (b"250 Ok\r\n250-wait\r\n550 5.1.1 no\r\n503 no\r\n", b""),
    "parameters refused": (
        b"555 5.5.4 no\r\n503 no\r\n503 no\r\n250 reset\r\n" + ACCEPTED,
        b"250 ok\r\n",
    ),
    "address syntax refused": (BAD_SYNTAX + b"250 reset\r\n" + BAD_SYNTAX, b""),
    "refused at the end": (ACCEPTED, b"554-5.7.1 spam\r\n554 5.7.1 go away\r\n"),
}


async def result_of(
    session: SmtpSession, envelope: Sequence[bytes], final: Sequence[bytes]
) -> AttemptResult:
    for piece in envelope:
        asyncio.get_running_loop().call_soon(session.data_received, piece)
    if (result := await session.send_envelope(wire_message())) is None:
        for piece in final:
            asyncio.get_running_loop().call_soon(session.data_received, piece)
        result = await session.read_final_reply()
    return result


def split(raw: bytes, at: int) -> list[bytes]:
    return [raw[:at], raw[at:]] if 0 < at < len(raw) else [raw]


@pytest.mark.parametrize("replies", REPLIES)
def test_a_reply_is_parsed_the_same_wherever_tcp_splits_it(replies: str) -> None:
    envelope, final = REPLIES[replies]
    unsplit: list[AttemptResult] = []

    async def scenario(session: SmtpSession) -> None:
        unsplit.append(await result_of(session, [envelope], [final]))

    run_scenario(scenario, mail_s=LONG_S, data_done_s=LONG_S)
    for at in range(1, len(envelope)):
        run_scenario(
            partial(assert_result, unsplit[0], split(envelope, at), [final]),
            mail_s=LONG_S,
            data_done_s=LONG_S,
        )
    for at in range(1, len(final)):
        run_scenario(
            partial(assert_result, unsplit[0], [envelope], split(final, at)),
            mail_s=LONG_S,
            data_done_s=LONG_S,
        )
    octets = [bytes([octet]) for octet in envelope]
    run_scenario(
        partial(assert_result, unsplit[0], octets, [final]), mail_s=LONG_S, data_done_s=LONG_S
    )
    assert unsplit[0].reply is not None


async def assert_result(
    expected: AttemptResult, envelope: Sequence[bytes], final: Sequence[bytes], session: SmtpSession
) -> None:
    assert await result_of(session, envelope, final) == expected


def test_half_a_reply_and_then_silence_times_out() -> None:
    async def scenario(session: SmtpSession) -> None:
        result = await result_of(session, [ACCEPTED], [b"250-2.0.0 qu"])
        assert (result.step, result.reply) == (END_OF_DATA, None)
        assert "no reply within" in result.problem

    run_scenario(scenario, mail_s=LONG_S, data_done_s=SHORT_S)


@pytest.mark.parametrize("flood", [b"250 ok\r\n", b"\r\n", b"hm\r\n", b"250-a\r\n"])
def test_a_flood_after_a_reply_is_not_read_and_does_not_change_it(flood: bytes) -> None:
    async def scenario(session: SmtpSession) -> None:
        result = await result_of(session, [ACCEPTED], [b"250 2.0.0 queued\r\n" + flood * 1000])
        assert result.reply is not None
        assert result.reply.enhanced == "2.0.0"

    session = run_scenario(scenario, mail_s=LONG_S, data_done_s=LONG_S)
    assert not session.is_usable
    assert cast(Wire, session._transport).aborted


@pytest.mark.parametrize("sent", [b"4", b"\r\n", b"421 bye\r\n", b"250 ok\r\n" * 100])
def test_a_server_that_sends_data_between_messages_is_disconnected(sent: bytes) -> None:
    async def scenario(session: SmtpSession) -> None:
        await result_of(session, [ACCEPTED], [b"250 ok\r\n"])
        assert session.is_usable
        session.data_received(sent)

    session = run_scenario(scenario, mail_s=LONG_S, data_done_s=LONG_S)
    assert not session.is_usable
    assert cast(Wire, session._transport).aborted


@pytest.mark.parametrize(
    "rset_reply", [b"503 5.5.2 bad sequence\r\n", b"502 what?\r\n", b"421 bye\r\n"]
)
def test_a_refused_rset_is_not_taken_for_the_next_messages_reply(rset_reply: bytes) -> None:
    async def scenario(session: SmtpSession) -> None:
        refused = b"250 Ok\r\n550 5.1.1 no\r\n503 no\r\n"
        await result_of(session, [refused], [])
        result = await result_of(session, [rset_reply + ACCEPTED], [])
        assert result.reply is None
        assert is_stale_connection(result, used=1)

    assert not run_scenario(scenario, mail_s=LONG_S, data_done_s=LONG_S).is_usable


# ── delivery status notifications ───────────────────────────────────────────────────────────────

PARAMETERS_REFUSED = {
    "at MAIL": b"555 5.5.4 what?\r\n503 no\r\n503 no\r\n",
    "at RCPT": b"250 Ok\r\n501 5.5.4 what?\r\n503 no\r\n",
    "not implemented": b"504 no\r\n503 no\r\n503 no\r\n",
}
NOTIFY = b"NOTIFY=FAILURE,DELAY ORCPT=rfc822;friend@receiver.example"


def commands_of(session: SmtpSession) -> list[bytes]:
    """The commands that the client sent."""
    return cast(Wire, session._transport).sent.splitlines()


def test_notifications_of_failures_and_delays_are_requested_if_dsn_is_offered() -> None:
    async def scenario(session: SmtpSession) -> None:
        await result_of(session, [ACCEPTED], [b"250 ok\r\n"])

    commands = commands_of(run_scenario(scenario))
    assert commands[0] == b"MAIL FROM:<> RET=HDRS ENVID=m1"
    assert commands[1] == b"RCPT TO:<friend@receiver.example> " + NOTIFY


@pytest.mark.parametrize("refused", PARAMETERS_REFUSED)
def test_a_message_is_sent_without_dsn_if_the_server_refuses_its_parameters(refused: str) -> None:
    refusals: list[str] = []

    async def scenario(session: SmtpSession) -> None:
        sent = PARAMETERS_REFUSED[refused] + b"250 reset\r\n" + ACCEPTED
        result = await result_of(session, [sent], [b"250 2.0.0 queued\r\n"])
        assert (result.step, result.reply and result.reply.code) == (END_OF_DATA, 250)
        await result_of(session, [ACCEPTED], [b"250 ok\r\n"])  # sends its envelope only once

    session = run_scenario(scenario, on_dsn_refused=lambda: refusals.append("host"))
    bare = [b"MAIL FROM:<>", b"RCPT TO:<friend@receiver.example>", b"DATA"]
    assert commands_of(session)[3:] == [b"RSET", *bare, *bare]
    assert refusals == ["host"]
    assert session.is_usable


def test_an_address_refused_with_and_without_dsn_does_not_disable_dsn() -> None:
    refusals: list[str] = []

    async def scenario(session: SmtpSession) -> None:
        bad = b"250 Ok\r\n501 5.1.3 Bad recipient address syntax\r\n503 no\r\n"
        result = await result_of(session, [bad + b"250 reset\r\n" + bad], [])
        assert (result.step, result.reply and result.reply.enhanced) == (RCPT, "5.1.3")
        await result_of(session, [b"250 reset\r\n" + ACCEPTED], [b"250 ok\r\n"])

    session = run_scenario(scenario, on_dsn_refused=lambda: refusals.append("host"))
    assert refusals == []
    assert commands_of(session)[-2].endswith(NOTIFY)


def test_a_server_that_disconnects_at_dsn_gets_the_next_message_without_it() -> None:
    refusals: list[str] = []

    async def scenario(session: SmtpSession) -> None:
        asyncio.get_running_loop().call_soon(session.data_received, b"501 what?\r\n")
        asyncio.get_running_loop().call_soon(session.eof_received)
        result = await session.send_envelope(wire_message())
        assert result is not None
        assert (result.step, result.reply) == (MAIL, None)
        assert outcome_of(result) == ATTEMPT_OUTCOME_TEMPORARY

    run_scenario(scenario, on_dsn_refused=lambda: refusals.append("host"))
    assert refusals == ["host"]
