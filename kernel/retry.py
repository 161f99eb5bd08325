"""Retry while infrastructure is unavailable: without limit, with capped delays and jitter. The
service is not ready meanwhile."""

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
CAP_S = 2.0  # a stalled pipeline costs more than an attempt every two seconds

logger = logging.getLogger(__name__)


async def retry_while_unavailable(
    attempt: Callable[[], Awaitable[T]],
    health: DependencyHealth,
    *,
    reraise: type[Unavailable] | tuple[()] = (),
) -> T:
    """Repeat the attempt while it raises Unavailable. `reraise` and all other errors go to the
    caller."""
    delays = backoff_delays_s()
    unavailable: set[str] = set()
    while True:
        try:
            result = await attempt()
        except reraise:
            health.unavailable -= unavailable
            raise
        except Unavailable as error:
            if str(error) not in unavailable:
                why = f": {error.__cause__!r}" if error.__cause__ else ""
                logger.warning("%s is unavailable%s", error, why)
            unavailable.add(str(error))
            health.unavailable |= unavailable
            await asyncio.sleep(next(delays))
        else:
            health.unavailable -= unavailable
            return result


def backoff_delays_s() -> Iterator[float]:
    """Delays with jitter, so that replicas do not all reconnect to a recovered database at once."""
    return (random.uniform(0.5, 1) * delay for delay in chain(RAMP_S, repeat(CAP_S)))
