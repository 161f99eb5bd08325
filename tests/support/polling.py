"""Waits for what comes some time."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from time import monotonic
from typing import TypeVar

T = TypeVar("T")
WITHIN_S = 240.0  # it only bounds a hang: the machine may be busy
PAUSES_S = 0.02, 0.5  # the least and the most
SHARE = 0.1  # of the time that was waited


async def until(
    condition: Callable[[], T | Awaitable[T | None] | None], *, within_s: float = WITHIN_S
) -> T:
    """The first value that is true. The longer it waits, the less often it asks: most conditions
    are a query or a call."""
    began = monotonic()
    async with asyncio.timeout(within_s):
        while True:
            found = condition()
            value = await found if isawaitable(found) else found
            if value:
                return value
            await asyncio.sleep(pause_s(monotonic() - began))


def pause_s(waited_s: float) -> float:
    least, most = PAUSES_S
    return min(max(least, waited_s * SHARE), most)
