"""Tasks that end: each has an owner who ends it, and who hears when it fails.

A cancellation can get lost on its way: before Python 3.12, asyncio.wait_for loses one that comes
just as it is done, and so do libraries that use it. And a TaskGroup passes only its first one on.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

CANCEL_TIMEOUT_S = 10.0  # longer than any loop takes to tidy up


async def supervise(step: Coroutine[Any, Any, T], *, cancel_timeout_s: float | None = None) -> T:
    """Await a step as a task of its own; when cancelled, cancel it until it has ended."""
    task = asyncio.create_task(step)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await cancel_and_wait(task, cancel_timeout_s=cancel_timeout_s)
        if not task.cancelled():
            task.result()  # how it failed is worth more than that it was cancelled
        raise
    return task.result()


async def cancel_and_wait(
    task: "asyncio.Task[Any]", *, cancel_timeout_s: float | None = None
) -> None:
    """Cancel it, again when that is not heard in time, and return when it has ended. Whoever
    cancels us meanwhile is told afterwards."""
    cancelled = False
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait([task], timeout=cancel_timeout_s or CANCEL_TIMEOUT_S)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


async def run_concurrently(
    steps: Iterable[Coroutine[Any, Any, None]], *, cancel_timeout_s: float | None = None
) -> None:
    """Until all have ended; when one fails, or we are cancelled, the others are ended."""
    async with asyncio.TaskGroup() as group:
        for step in steps:
            group.create_task(supervise(step, cancel_timeout_s=cancel_timeout_s))


async def run_with_timeout(step: Coroutine[Any, Any, Any], *, timeout_s: float) -> None:
    """Give a step its time, and end it then."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await supervise(step)
