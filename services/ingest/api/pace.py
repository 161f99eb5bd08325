"""Under load requests go on together: a commit of ten costs little more than a commit of one."""

import asyncio

from kernel import clock

# Between the starts of two groups, for each request of the first one. Who comes less often than
# that meets nobody: 300 requests in a second are the least that wait for each other.
GAP_PER_REQUEST_S = 0.003
GAP_MAX_S = 0.024


class Pace:
    """When the next group may start. Groups grow until they are GAP_MAX_S apart, and shrink again
    as soon as less comes: a single request waits for nobody."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._opening: asyncio.Event | None = None

    def began(self, requests: int) -> None:
        """A group of so many has started."""
        self._next_s = clock.monotonic_s() + min(requests * GAP_PER_REQUEST_S, GAP_MAX_S)

    async def turn(self) -> None:
        """Return when the next group may start, for all of its members in one moment."""
        if self._opening is None:
            wait_s = self._next_s - clock.monotonic_s()
            if wait_s <= 0:
                return
            self._opening = asyncio.Event()
            asyncio.get_running_loop().call_later(wait_s, self._open)
        await self._opening.wait()

    def _open(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.set()
