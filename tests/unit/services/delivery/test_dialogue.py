"""How long a dialogue waits for an answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import pytest

from contracts.delivery.v1.events_pb2 import OUTCOME_TEMPORARY
from mail import address
from services.delivery.clients.smtp.dialogue import Dialogue, Offers
from services.delivery.clients.smtp.timeouts import Timeouts
from services.delivery.domain.ending import DATA, DOT, MAIL, RCPT, Ending, Peer, outcome_of
from services.delivery.domain.rendering import Mail
from services.delivery.domain.walk import died_idle

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


Story = Callable[[Dialogue], Awaitable[None]]


def a_mail() -> Mail:
    friend = address.parse("friend@receiver.example")
    return Mail(None, friend, wire=b"Hello\r\n", size=7, utf8=False, envelope_id="m1")


def told(
    story: Story,
    *,
    mail_s: float = LONG_S,
    dot_s: float = LONG_S,
    block_s: float = LONG_S,
    refuses_dsn: Callable[[], None] = lambda: None,
) -> Dialogue:
    async def tell() -> Dialogue:
        times = replace(Timeouts(), mail_s=mail_s, dot_s=dot_s, block_s=block_s)
        wire = cast(asyncio.Transport, Wire())
        made = Dialogue(
            wire,
            peer=Peer(),
            port=25,
            offers=Offers(True, dsn=True),
            timeouts=times,
            refuses_dsn=refuses_dsn,
        )
        async with asyncio.timeout(10):
            await story(made)
        return made

    return asyncio.run(tell())


def say(dialogue: Dialogue, text: bytes, *, in_s: float = 0.0) -> None:
    asyncio.get_running_loop().call_later(in_s, dialogue.data_received, text)


def test_a_short_wait_after_a_long_one_is_short() -> None:
    async def story(dialogue: Dialogue) -> None:
        say(dialogue, TAKEN)
        assert await dialogue.offer(a_mail()) is None
        ending = await dialogue.answer()
        assert (ending.step, ending.reply) == (DOT, None)
        assert ending.problem == "no answer in 0.05 s"

    told(story, mail_s=LONG_S, dot_s=SHORT_S)


def test_a_long_wait_after_a_short_one_is_long() -> None:
    async def story(dialogue: Dialogue) -> None:
        say(dialogue, TAKEN)
        assert await dialogue.offer(a_mail()) is None
        say(dialogue, b"250 Ok\r\n", in_s=4 * SHORT_S)
        ending = await dialogue.answer()
        assert ending.reply is not None
        assert ending.reply.code == 250

    assert told(story, mail_s=SHORT_S, dot_s=LONG_S).usable


def test_nobody_is_late_between_two_messages() -> None:
    async def story(dialogue: Dialogue) -> None:
        say(dialogue, TAKEN + b"250 Ok\r\n")
        assert await dialogue.offer(a_mail()) is None
        await dialogue.answer()
        await asyncio.sleep(2 * SHORT_S)  # the timer rings, and nobody waits

    assert told(story, mail_s=SHORT_S, dot_s=SHORT_S).usable


def test_who_says_nothing_at_all_is_given_up() -> None:
    async def story(dialogue: Dialogue) -> None:
        ending = await dialogue.offer(a_mail())
        assert ending is not None
        assert (ending.step, ending.problem) == (MAIL, "no answer in 0.05 s")

    assert not told(story, mail_s=SHORT_S, dot_s=LONG_S).usable


def test_who_does_not_read_on_is_given_up_before_the_dot() -> None:
    async def story(dialogue: Dialogue) -> None:
        say(dialogue, TAKEN)
        assert await dialogue.offer(a_mail()) is None
        dialogue.pause_writing()
        ending = await dialogue.body(a_mail())
        assert ending is not None
        assert (ending.step, ending.problem) == (DATA, "the server stopped reading")

    assert not told(story, block_s=SHORT_S).usable


def test_eight_bits_are_announced_to_who_takes_them_where_a_header_has_them() -> None:
    async def story(dialogue: Dialogue) -> None:
        dialogue.offers = Offers(True, utf8=True, eight_bit=True)
        say(dialogue, TAKEN)
        await dialogue.offer(replace(a_mail(), utf8=True))

    assert heard(told(story))[0] == b"MAIL FROM:<> BODY=8BITMIME SMTPUTF8"


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


async def ending_of(dialogue: Dialogue, envelope: Sequence[bytes], dot: Sequence[bytes]) -> Ending:
    for piece in envelope:
        asyncio.get_running_loop().call_soon(dialogue.data_received, piece)
    if (ending := await dialogue.offer(a_mail())) is None:
        for piece in dot:
            asyncio.get_running_loop().call_soon(dialogue.data_received, piece)
        ending = await dialogue.answer()
    return ending


def cut(raw: bytes, at: int) -> list[bytes]:
    return [raw[:at], raw[at:]] if 0 < at < len(raw) else [raw]


@pytest.mark.parametrize("scene", SCENES)
def test_a_reply_is_the_same_wherever_tcp_cuts_it(scene: str) -> None:
    envelope, dot = SCENES[scene]
    whole: list[Ending] = []

    async def story(dialogue: Dialogue) -> None:
        whole.append(await ending_of(dialogue, [envelope], [dot]))

    told(story, mail_s=LONG_S, dot_s=LONG_S)
    for at in range(1, len(envelope)):
        told(partial(same, whole[0], cut(envelope, at), [dot]), mail_s=LONG_S, dot_s=LONG_S)
    for at in range(1, len(dot)):
        told(partial(same, whole[0], [envelope], cut(dot, at)), mail_s=LONG_S, dot_s=LONG_S)
    octets = [bytes([octet]) for octet in envelope]
    told(partial(same, whole[0], octets, [dot]), mail_s=LONG_S, dot_s=LONG_S)
    assert whole[0].reply is not None


async def same(
    wanted: Ending, envelope: Sequence[bytes], dot: Sequence[bytes], dialogue: Dialogue
) -> None:
    assert await ending_of(dialogue, envelope, dot) == wanted


def test_half_a_reply_and_then_nothing_is_no_answer_in_time() -> None:
    async def story(dialogue: Dialogue) -> None:
        ending = await ending_of(dialogue, [TAKEN], [b"250-2.0.0 qu"])
        assert (ending.step, ending.reply) == (DOT, None)
        assert "no answer in" in ending.problem

    told(story, mail_s=LONG_S, dot_s=SHORT_S)


@pytest.mark.parametrize("flood", [b"250 ok\r\n", b"\r\n", b"hm\r\n", b"250-a\r\n"])
def test_a_flood_behind_an_answer_neither_undoes_it_nor_is_read(flood: bytes) -> None:
    async def story(dialogue: Dialogue) -> None:
        ending = await ending_of(dialogue, [TAKEN], [b"250 2.0.0 queued\r\n" + flood * 1000])
        assert ending.reply is not None
        assert ending.reply.enhanced == "2.0.0"

    made = told(story, mail_s=LONG_S, dot_s=LONG_S)
    assert not made.usable
    assert cast(Wire, made._transport).aborted


@pytest.mark.parametrize("said", [b"4", b"\r\n", b"421 bye\r\n", b"250 ok\r\n" * 100])
def test_who_speaks_between_two_messages_is_hung_up_on(said: bytes) -> None:
    async def story(dialogue: Dialogue) -> None:
        await ending_of(dialogue, [TAKEN], [b"250 ok\r\n"])
        assert dialogue.usable
        dialogue.data_received(said)

    made = told(story, mail_s=LONG_S, dot_s=LONG_S)
    assert not made.usable
    assert cast(Wire, made._transport).aborted


@pytest.mark.parametrize(
    "answer", [b"503 5.5.2 bad sequence\r\n", b"502 what?\r\n", b"421 bye\r\n"]
)
def test_a_refused_rset_is_never_the_next_messages_answer(answer: bytes) -> None:
    async def story(dialogue: Dialogue) -> None:
        refused = b"250 Ok\r\n550 5.1.1 no\r\n503 no\r\n"
        await ending_of(dialogue, [refused], [])
        ending = await ending_of(dialogue, [answer + TAKEN], [])
        assert ending.reply is None
        assert died_idle(ending, used=1)

    assert not told(story, mail_s=LONG_S, dot_s=LONG_S).usable


# ── delivery status notifications ───────────────────────────────────────────────────────────────

PARAMETERS_REFUSED = {
    "at MAIL": b"555 5.5.4 what?\r\n503 no\r\n503 no\r\n",
    "at RCPT": b"250 Ok\r\n501 5.5.4 what?\r\n503 no\r\n",
    "not implemented": b"504 no\r\n503 no\r\n503 no\r\n",
}
NOTIFY = b"NOTIFY=FAILURE,DELAY ORCPT=rfc822;friend@receiver.example"


def heard(dialogue: Dialogue) -> list[bytes]:
    """The commands that the server got."""
    return cast(Wire, dialogue._transport).said.splitlines()


def test_who_offers_reports_is_asked_for_those_of_failures_and_delays() -> None:
    async def story(dialogue: Dialogue) -> None:
        await ending_of(dialogue, [TAKEN], [b"250 ok\r\n"])

    commands = heard(told(story))
    assert commands[0] == b"MAIL FROM:<> RET=HDRS ENVID=m1"
    assert commands[1] == b"RCPT TO:<friend@receiver.example> " + NOTIFY


@pytest.mark.parametrize("refused", PARAMETERS_REFUSED)
def test_no_message_fails_for_the_parameters_that_a_server_offered(refused: str) -> None:
    noted: list[str] = []

    async def story(dialogue: Dialogue) -> None:
        said = PARAMETERS_REFUSED[refused] + b"250 reset\r\n" + TAKEN
        ending = await ending_of(dialogue, [said], [b"250 2.0.0 queued\r\n"])
        assert (ending.step, ending.reply and ending.reply.code) == (DOT, 250)
        await ending_of(dialogue, [TAKEN], [b"250 ok\r\n"])  # and the next is not asked again

    made = told(story, refuses_dsn=lambda: noted.append("host"))
    bare = [b"MAIL FROM:<>", b"RCPT TO:<friend@receiver.example>", b"DATA"]
    assert heard(made)[3:] == [b"RSET", *bare, *bare]
    assert noted == ["host"]
    assert made.usable


def test_an_address_that_is_refused_without_parameters_too_says_nothing_against_them() -> None:
    noted: list[str] = []

    async def story(dialogue: Dialogue) -> None:
        bad = b"250 Ok\r\n501 5.1.3 Bad recipient address syntax\r\n503 no\r\n"
        ending = await ending_of(dialogue, [bad + b"250 reset\r\n" + bad], [])
        assert (ending.step, ending.reply and ending.reply.enhanced) == (RCPT, "5.1.3")
        await ending_of(dialogue, [b"250 reset\r\n" + TAKEN], [b"250 ok\r\n"])

    made = told(story, refuses_dsn=lambda: noted.append("host"))
    assert noted == []
    assert heard(made)[-2].endswith(NOTIFY)


def test_who_hangs_up_on_the_parameters_gets_the_message_later_without_them() -> None:
    noted: list[str] = []

    async def story(dialogue: Dialogue) -> None:
        asyncio.get_running_loop().call_soon(dialogue.data_received, b"501 what?\r\n")
        asyncio.get_running_loop().call_soon(dialogue.eof_received)
        ending = await dialogue.offer(a_mail())
        assert ending is not None
        assert (ending.step, ending.reply) == (MAIL, None)
        assert outcome_of(ending) == OUTCOME_TEMPORARY

    told(story, refuses_dsn=lambda: noted.append("host"))
    assert noted == ["host"]
