"""The event loop of a module's tests, and the service that goes on running in it between them.

To start a service costs more CPU than most tests do. A test that needs no start or stop of its own
enters `shared()` of its harness; the next test of the module with equal settings finds the service
running. Tests are independent all the same: each has a tenant or an account of its own.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from cli.environment import Ports

T = TypeVar("T")


@dataclass(slots=True)
class SharedService:
    """A context manager, entered and left by one task. entered: its value."""

    settings: object
    stop: asyncio.Event
    entered: "asyncio.Future[Any]"
    task: "asyncio.Task[None]"


@dataclass
class ModuleLoop:
    """folder: the same for all tests, so that their settings are equal."""

    folder: Path
    _ports: Ports = field(default_factory=Ports.find_free)
    _runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    _shared: SharedService | None = None

    def run(self, test: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(test)

    async def share(
        self,
        settings: Callable[[Ports], object],
        create: Callable[[], AbstractAsyncContextManager[T]],
    ) -> T:
        """The value of the context that is open if its settings are equal; otherwise of a new one,
        at new ports: the old ones may be closed a little later."""
        shared = self._shared
        if shared is None or shared.settings != settings(self._ports) or shared.task.done():
            await self.end_shared()
            self._ports = Ports.find_free()
            shared = self._shared = _open(settings(self._ports), create())
        await asyncio.wait([shared.entered, shared.task], return_when=asyncio.FIRST_COMPLETED)
        if shared.task.done():
            await self.end_shared()  # raises why
        return cast(T, shared.entered.result())

    async def end_shared(self) -> None:
        """Call it before a test starts a service of its own: the two would share the work."""
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.stop.set()
            await shared.task

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._runner:
            self._runner.run(self.end_shared())


def _open(settings: object, context: AbstractAsyncContextManager[Any]) -> SharedService:
    stop, entered = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def hold() -> None:
        async with context as value:
            entered.set_result(value)
            await stop.wait()

    return SharedService(settings, stop, entered, asyncio.create_task(hold()))
