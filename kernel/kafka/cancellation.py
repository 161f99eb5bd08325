"""Steps that are not to be cancelled in their middle."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finish_despite_cancel(step: Coroutine[Any, Any, T]) -> T:
    """Await a step; when cancelled meanwhile, let it come to its end first.

    aiokafka forgets the connection that it is making when it is cancelled.
    """
    task = asyncio.create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
