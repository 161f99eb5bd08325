"""Steps that must finish despite a cancellation."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finish_despite_cancel(step: Coroutine[Any, Any, T]) -> T:
    """Await a step; if cancelled meanwhile, wait for its end before raising.

    aiokafka leaks the connection that it is opening when it is cancelled.
    """
    task = asyncio.create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
