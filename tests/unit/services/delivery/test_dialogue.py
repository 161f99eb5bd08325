"""How long a dialogue waits for an answer."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

from mail import address
from services.delivery.clients.smtp.dialogue import Dialogue, Offers
from services.delivery.clients.smtp.timeouts import Timeouts
from services.delivery.domain.ending import DOT, MAIL, Peer
from services.delivery.domain.rendering import Mail

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
    return Mail(sender=None, recipient=friend, wire=b"Hello\r\n", size=7, utf8=False)


def told(story: Story, *, mail_s: float, dot_s: float) -> Dialogue:
    async def tell() -> Dialogue:
        times = replace(Timeouts(), mail_s=mail_s, dot_s=dot_s)
        wire = cast(asyncio.Transport, Wire())
        made = Dialogue(wire, peer=Peer(), port=25, offers=Offers(True), timeouts=times)
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
