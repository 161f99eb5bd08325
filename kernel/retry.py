"""How to wait for infrastructure: without limit, capped, with jitter, and not ready meanwhile."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain, repeat
from typing import TypeVar

from kernel.errors import Unavailable
from kernel.health import DependencyHealth

T = TypeVar("T")
RAMP_S = (0.1, 0.2, 0.5, 1.0)
CAP_S = 2.0  # a pipeline that stands still costs more than a question every two seconds

logger = logging.getLogger(__name__)


async def retry_while_unavailable(
    attempt: Callable[[], Awaitable[T]],
    health: DependencyHealth,
    *,
    but: type[Unavailable] | tuple[()] = (),
) -> T:
    """Repeat while infrastructure is away. Every other error is the caller's, and so is `but`."""
    delays = delays_s()
    met: set[str] = set()
    while True:
        try:
            result = await attempt()
        except but:
            health.unavailable -= met
            raise
        except Unavailable as error:
            if str(error) not in met:
                why = f": {error.__cause__!r}" if error.__cause__ else ""
                logger.warning("%s is unavailable%s", error, why)
            met.add(str(error))
            health.unavailable |= met
            await asyncio.sleep(next(delays))
        else:
            health.unavailable -= met
            return result


def delays_s() -> Iterator[float]:
    """Jitter, so that a database that comes back does not meet all replicas in one moment."""
    return (random.uniform(0.5, 1) * delay for delay in chain(RAMP_S, repeat(CAP_S)))
