"""When the scheduler's next tick begins."""

import asyncio
from contextlib import suppress


class TickTrigger:
    """interval_s: between ticks that have much to do."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._has_work = asyncio.Event()
        self._has_prompt_work = asyncio.Event()

    def wake(self) -> None:
        """There is new mail, or the broker has the bulk assignments."""
        self._has_work.set()
        self._has_prompt_work.set()

    def on_capacity(self) -> None:
        """A blocked queue may have capacity again."""
        self._has_work.set()

    def start_tick(self) -> None:
        self._has_work.clear()
        self._has_prompt_work.clear()

    async def wait(self, wait_s: float, *, is_busy: bool) -> None:
        """Until there is work, at most this time."""
        interval_s = self._interval_s / (1 if is_busy else 6)
        await asyncio.sleep(min(interval_s, wait_s))
        await wait_up_to(self._has_work, wait_s - interval_s)

    async def wait_for_broker(self, wait_s: float) -> None:
        """The same while bulk assignments wait for the broker. Results of bulk mail arrive all the
        time, so that a tick for the capacity that they free comes after an interval only."""
        await wait_up_to(self._has_prompt_work, self._interval_s)
        if not self._has_prompt_work.is_set():
            await wait_up_to(self._has_work, wait_s - self._interval_s)


async def wait_up_to(event: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, timeout_s)):
            await event.wait()
