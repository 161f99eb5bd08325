"""How long a session waits for an answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import pytest

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_TEMPORARY
from mail import address
from services.delivery.clients.smtp.session import EhloExtensions, SmtpSession
from services.delivery.clients.smtp.timeouts import Timeouts
from services.delivery.domain.attempt_result import (
    DATA,
    END_OF_DATA,
    MAIL,
    RCPT,
    AttemptResult,
    RemoteServer,
    outcome_of,
)
from services.delivery.domain.host_policy import is_stale_connection
from services.delivery.domain.rendering import WireMessage

LONG_S, SHORT_S = 60.0, 0.05
TAKEN = b"250 Ok\r\n250 Ok\r\n354 Go on\r\n"


class Wire:
    """A transport that is open, and keeps what was written."""

    def __init__(self) -> None:
        self.said = b""
        self.aborted = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...

    def is_closing(self) -> bool:
        return self.aborted

    def write(self, data: bytes) -> None:
        self.said += data

    def abort(self) -> None:
        self.aborted = True


Story = Callable[[SmtpSession], Awaitable[None]]


def a_mail() -> WireMessage:
    friend = address.parse("friend@receiver.example")
    return WireMessage(None, friend, wire=b"Hello\r\n", size=7, utf8=False, envelope_id="m1")


def run_story(
    story: Story,
    *,
    mail_s: float = LONG_S,
    data_done_s: float = LONG_S,
    data_xfer_s: float = LONG_S,
    refuses_dsn: Callable[[], None] = lambda: None,
) -> SmtpSession:
    async def tell() -> SmtpSession:
        times = replace(Timeouts(), mail_s=mail_s, data_done_s=data_done_s, data_xfer_s=data_xfer_s)
        wire = cast(asyncio.Transport, Wire())
        made = SmtpSession(
            wire,
            peer=RemoteServer(),
            port=25,
            extensions=EhloExtensions(True, dsn=True),
            timeouts=times,
            refuses_dsn=refuses_dsn,
        )
        async with asyncio.timeout(10):
            await story(made)
        return made

    return asyncio.run(tell())


def say(session: SmtpSession, text: bytes, *, in_s: float = 0.0) -> None:
    asyncio.get_running_loop().call_later(in_s, session.data_received, text)


def test_a_short_wait_after_a_long_one_is_short() -> None:
    async def story(session: SmtpSession) -> None:
        say(session, TAKEN)
        assert await session.send_envelope(a_mail()) is None
        result = await session.read_final_reply()
        assert (result.step, result.reply) == (END_OF_DATA, None)
        assert result.problem == "no answer in 0.05 s"

    run_story(story, mail_s=LONG_S, data_done_s=SHORT_S)


def test_a_long_wait_after_a_short_one_is_long() -> None:
    async def story(session: SmtpSession) -> None:
        say(session, TAKEN)
        assert await session.send_envelope(a_mail()) is None
        say(session, b"250 Ok\r\n", in_s=4 * SHORT_S)
        result = await session.read_final_reply()
        assert result.reply is not None
        assert result.reply.code == 250

    assert run_story(story, mail_s=SHORT_S, data_done_s=LONG_S).is_usable


def test_nobody_is_late_between_two_messages() -> None:
    async def story(session: SmtpSession) -> None:
        say(session, TAKEN + b"250 Ok\r\n")
        assert await session.send_envelope(a_mail()) is None
        await session.read_final_reply()
        await asyncio.sleep(2 * SHORT_S)  # the timer rings, and nobody waits

    assert run_story(story, mail_s=SHORT_S, data_done_s=SHORT_S).is_usable


def test_who_says_nothing_at_all_is_given_up() -> None:
    async def story(session: SmtpSession) -> None:
        result = await session.send_envelope(a_mail())
        assert result is not None
        assert (result.step, result.problem) == (MAIL, "no answer in 0.05 s")

    assert not run_story(story, mail_s=SHORT_S, data_done_s=LONG_S).is_usable


def test_who_does_not_read_on_is_given_up_before_the_dot() -> None:
    async def story(session: SmtpSession) -> None:
        say(session, TAKEN)
        assert await session.send_envelope(a_mail()) is None
        session.pause_writing()
        result = await session.send_body(a_mail())
        assert result is not None
        assert (result.step, result.problem) == (DATA, "the server stopped reading")

    assert not run_story(story, data_xfer_s=SHORT_S).is_usable


def test_eight_bits_are_announced_to_who_takes_them_where_a_header_has_them() -> None:
    async def story(session: SmtpSession) -> None:
        session.extensions = EhloExtensions(True, utf8=True, eight_bit=True)
        say(session, TAKEN)
        await session.send_envelope(replace(a_mail(), utf8=True))

    assert heard(run_story(story))[0] == b"MAIL FROM:<> BODY=8BITMIME SMTPUTF8"


# ── what the server sends, however it comes ─────────────────────────────────────────────────────

BAD_SYNTAX = b"250 a\r\n501-5.1.3 no\r\n501 no\r\n503 no\r\n"
SCENES = {
    "taken": (TAKEN, b"250 2.0.0 queued\r\n"),
    "many lines": (b"250-a\r\n250 b\r\n250-c\r\n250 d\r\n354 go\r\n", b"250-2.0.0 a\r\n250 b\r\n"),
    "bare LF": (TAKEN.replace(b"\r\n", b"\n"), b"250 ok\n"),
    "empty lines": (b"\r\n" + TAKEN.replace(b"\r\n", b"\r\n\r\n"), b"\r\n250 ok\r\n\r\n"),
    "lines without a code": (b"hm\r\n" + TAKEN, b"one moment\r\n250 ok\r\n"),
    "no recipient": (b"250 Ok\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n503 no\r\n", b""),
    "an empty line behind a refusal": (b"250 Ok\r\n550 5.1.1 no\r\n\r\n503 no\r\n", b""),
    "codes that differ": (b"250 Ok\r\n250-wait\r\n550 5.1.1 no\r\n503 no\r\n", b""),
    "parameters refused": (
        b"555 5.5.4 no\r\n503 no\r\n503 no\r\n250 reset\r\n" + TAKEN,
        b"250 ok\r\n",
    ),
    "its syntax refused": (BAD_SYNTAX + b"250 reset\r\n" + BAD_SYNTAX, b""),
    "refused at the end": (TAKEN, b"554-5.7.1 spam\r\n554 5.7.1 go away\r\n"),
}


async def result_of(
    session: SmtpSession, envelope: Sequence[bytes], dot: Sequence[bytes]
) -> AttemptResult:
    for piece in envelope:
        asyncio.get_running_loop().call_soon(session.data_received, piece)
    if (result := await session.send_envelope(a_mail())) is None:
        for piece in dot:
            asyncio.get_running_loop().call_soon(session.data_received, piece)
        result = await session.read_final_reply()
    return result


def cut(raw: bytes, at: int) -> list[bytes]:
    return [raw[:at], raw[at:]] if 0 < at < len(raw) else [raw]


@pytest.mark.parametrize("scene", SCENES)
def test_a_reply_is_the_same_wherever_tcp_cuts_it(scene: str) -> None:
    envelope, dot = SCENES[scene]
    whole: list[AttemptResult] = []

    async def story(session: SmtpSession) -> None:
        whole.append(await result_of(session, [envelope], [dot]))

    run_story(story, mail_s=LONG_S, data_done_s=LONG_S)
    for at in range(1, len(envelope)):
        run_story(
            partial(same, whole[0], cut(envelope, at), [dot]), mail_s=LONG_S, data_done_s=LONG_S
        )
    for at in range(1, len(dot)):
        run_story(
            partial(same, whole[0], [envelope], cut(dot, at)), mail_s=LONG_S, data_done_s=LONG_S
        )
    octets = [bytes([octet]) for octet in envelope]
    run_story(partial(same, whole[0], octets, [dot]), mail_s=LONG_S, data_done_s=LONG_S)
    assert whole[0].reply is not None


async def same(
    wanted: AttemptResult, envelope: Sequence[bytes], dot: Sequence[bytes], session: SmtpSession
) -> None:
    assert await result_of(session, envelope, dot) == wanted


def test_half_a_reply_and_then_nothing_is_no_answer_in_time() -> None:
    async def story(session: SmtpSession) -> None:
        result = await result_of(session, [TAKEN], [b"250-2.0.0 qu"])
        assert (result.step, result.reply) == (END_OF_DATA, None)
        assert "no answer in" in result.problem

    run_story(story, mail_s=LONG_S, data_done_s=SHORT_S)


@pytest.mark.parametrize("flood", [b"250 ok\r\n", b"\r\n", b"hm\r\n", b"250-a\r\n"])
def test_a_flood_behind_an_answer_neither_undoes_it_nor_is_read(flood: bytes) -> None:
    async def story(session: SmtpSession) -> None:
        result = await result_of(session, [TAKEN], [b"250 2.0.0 queued\r\n" + flood * 1000])
        assert result.reply is not None
        assert result.reply.enhanced == "2.0.0"

    made = run_story(story, mail_s=LONG_S, data_done_s=LONG_S)
    assert not made.is_usable
    assert cast(Wire, made._transport).aborted


@pytest.mark.parametrize("said", [b"4", b"\r\n", b"421 bye\r\n", b"250 ok\r\n" * 100])
def test_who_speaks_between_two_messages_is_hung_up_on(said: bytes) -> None:
    async def story(session: SmtpSession) -> None:
        await result_of(session, [TAKEN], [b"250 ok\r\n"])
        assert session.is_usable
        session.data_received(said)

    made = run_story(story, mail_s=LONG_S, data_done_s=LONG_S)
    assert not made.is_usable
    assert cast(Wire, made._transport).aborted


@pytest.mark.parametrize(
    "answer", [b"503 5.5.2 bad sequence\r\n", b"502 what?\r\n", b"421 bye\r\n"]
)
def test_a_refused_rset_is_never_the_next_messages_answer(answer: bytes) -> None:
    async def story(session: SmtpSession) -> None:
        refused = b"250 Ok\r\n550 5.1.1 no\r\n503 no\r\n"
        await result_of(session, [refused], [])
        result = await result_of(session, [answer + TAKEN], [])
        assert result.reply is None
        assert is_stale_connection(result, used=1)

    assert not run_story(story, mail_s=LONG_S, data_done_s=LONG_S).is_usable


# ── delivery status notifications ───────────────────────────────────────────────────────────────

PARAMETERS_REFUSED = {
    "at MAIL": b"555 5.5.4 what?\r\n503 no\r\n503 no\r\n",
    "at RCPT": b"250 Ok\r\n501 5.5.4 what?\r\n503 no\r\n",
    "not implemented": b"504 no\r\n503 no\r\n503 no\r\n",
}
NOTIFY = b"NOTIFY=FAILURE,DELAY ORCPT=rfc822;friend@receiver.example"


def heard(session: SmtpSession) -> list[bytes]:
    """The commands that the server got."""
    return cast(Wire, session._transport).said.splitlines()


def test_who_offers_reports_is_asked_for_those_of_failures_and_delays() -> None:
    async def story(session: SmtpSession) -> None:
        await result_of(session, [TAKEN], [b"250 ok\r\n"])

    commands = heard(run_story(story))
    assert commands[0] == b"MAIL FROM:<> RET=HDRS ENVID=m1"
    assert commands[1] == b"RCPT TO:<friend@receiver.example> " + NOTIFY


@pytest.mark.parametrize("refused", PARAMETERS_REFUSED)
def test_no_message_fails_for_the_parameters_that_a_server_offered(refused: str) -> None:
    noted: list[str] = []

    async def story(session: SmtpSession) -> None:
        said = PARAMETERS_REFUSED[refused] + b"250 reset\r\n" + TAKEN
        result = await result_of(session, [said], [b"250 2.0.0 queued\r\n"])
        assert (result.step, result.reply and result.reply.code) == (END_OF_DATA, 250)
        await result_of(session, [TAKEN], [b"250 ok\r\n"])  # and the next is not tried again

    made = run_story(story, refuses_dsn=lambda: noted.append("host"))
    bare = [b"MAIL FROM:<>", b"RCPT TO:<friend@receiver.example>", b"DATA"]
    assert heard(made)[3:] == [b"RSET", *bare, *bare]
    assert noted == ["host"]
    assert made.is_usable


def test_an_address_that_is_refused_without_parameters_too_says_nothing_against_them() -> None:
    noted: list[str] = []

    async def story(session: SmtpSession) -> None:
        bad = b"250 Ok\r\n501 5.1.3 Bad recipient address syntax\r\n503 no\r\n"
        result = await result_of(session, [bad + b"250 reset\r\n" + bad], [])
        assert (result.step, result.reply and result.reply.enhanced) == (RCPT, "5.1.3")
        await result_of(session, [b"250 reset\r\n" + TAKEN], [b"250 ok\r\n"])

    made = run_story(story, refuses_dsn=lambda: noted.append("host"))
    assert noted == []
    assert heard(made)[-2].endswith(NOTIFY)


def test_who_hangs_up_on_the_parameters_gets_the_message_later_without_them() -> None:
    noted: list[str] = []

    async def story(session: SmtpSession) -> None:
        asyncio.get_running_loop().call_soon(session.data_received, b"501 what?\r\n")
        asyncio.get_running_loop().call_soon(session.eof_received)
        result = await session.send_envelope(a_mail())
        assert result is not None
        assert (result.step, result.reply) == (MAIL, None)
        assert outcome_of(result) == ATTEMPT_OUTCOME_TEMPORARY

    run_story(story, refuses_dsn=lambda: noted.append("host"))
    assert noted == ["host"]
