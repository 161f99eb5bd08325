"""Structured tasks: the owner of a task cancels it and gets its errors.

A cancellation can be lost: before Python 3.12, asyncio.wait_for swallows one that arrives as it
finishes, and so do libraries that use it. A TaskGroup passes on only the first one.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

CANCEL_TIMEOUT_S = 10.0  # longer than the cleanup of any loop


async def supervise(step: Coroutine[Any, Any, T], *, cancel_timeout_s: float | None = None) -> T:
    """Await a step in its own task; when cancelled, cancel the step until it has ended."""
    task = asyncio.create_task(step)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await cancel_and_wait(task, cancel_timeout_s=cancel_timeout_s)
        if not task.cancelled():
            task.result()  # its error takes precedence over the cancellation
        raise
    return task.result()


async def cancel_and_wait(
    task: "asyncio.Task[Any]", *, cancel_timeout_s: float | None = None
) -> None:
    """Cancel the task, repeatedly if it does not end in time, and return when it has ended. If the
    caller is cancelled meanwhile, CancelledError is raised afterwards."""
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
    """Run until all steps have ended; if one fails or the caller is cancelled, cancel the
    others."""
    async with asyncio.TaskGroup() as group:
        for step in steps:
            group.create_task(supervise(step, cancel_timeout_s=cancel_timeout_s))


async def run_with_timeout(step: Coroutine[Any, Any, Any], *, timeout_s: float) -> None:
    """Await a step; cancel it at the timeout."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await supervise(step)
