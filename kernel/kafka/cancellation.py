"""Steps that must finish despite a cancellation."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from kernel.tasks import cancel_and_wait

FINISH_TIMEOUT_S = 5.0

T = TypeVar("T")


async def finish_despite_cancel(step: Coroutine[Any, Any, T]) -> T:
    """Await a step; if cancelled meanwhile, wait for its end before raising, up to
    FINISH_TIMEOUT_S.

    aiokafka leaks the connection that it is opening when it is cancelled, and repeats some requests
    for ever.
    """
    task = asyncio.create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=FINISH_TIMEOUT_S)
        await cancel_and_wait(task)
        raise
