"""Waits for what comes some time."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from time import monotonic
from typing import Any, TypeVar, overload

T = TypeVar("T")
WITHIN_S = 240.0  # it only bounds a hang: the machine may be busy
PAUSES_S = 0.02, 0.25  # the least and the most
SHARE = 0.1  # of the time that was waited


@overload
async def until(
    condition: Callable[[], Awaitable[T | None]], *, within_s: float = WITHIN_S
) -> T: ...
@overload
async def until(condition: Callable[[], T | None], *, within_s: float = WITHIN_S) -> T: ...
async def until(condition: Callable[[], Any], *, within_s: float = WITHIN_S) -> Any:
    """The first value that is true. The longer it waits, the less often it asks: most conditions
    are a query or a call."""
    began = monotonic()
    async with asyncio.timeout(within_s):
        while True:
            found = condition()
            if value := await found if isawaitable(found) else found:
                return value
            await asyncio.sleep(pause_s(monotonic() - began))


def pause_s(waited_s: float) -> float:
    least, most = PAUSES_S
    return min(max(least, waited_s * SHARE), most)
