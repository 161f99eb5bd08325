"""A service runs its loops until it is stopped or one of them fails."""

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeAlias, TypeVar

import uvloop
from aiohttp import web

from kernel import metrics, telemetry
from kernel.errors import ConfigError, Overloaded
from kernel.health import DependencyHealth
from kernel.memory import tune_gc, tune_malloc
from kernel.retry import retry_while_unavailable
from kernel.settings import ProcessSettings, read_settings, split_address
from kernel.tasks import run_with_timeout, supervise

Loop: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
S = TypeVar("S", bound=ProcessSettings)
logger = logging.getLogger(__name__)
Close: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
Actions: TypeAlias = Sequence[tuple[float, Callable[[], Awaitable[None]]]]

CLOSE_TIMEOUT_S = 15.0  # to cancel the loops and close, after the drain
OVERLOADED_PAUSE_S = 10.0  # as long as the statement that was aborted
NICE = 5  # a third of the CPU weight; no effect on an idle machine


@dataclass(frozen=True, slots=True)
class Service:
    """loops: run until cancelled. close: called after all loops have ended.

    drain: called first at a stop, while the loops still run: accept no new work and finish the work
    in progress, within shutdown_timeout_s.
    """

    name: str
    loops: Sequence[Loop]
    close: Close
    health: DependencyHealth
    drain: Close | None = None
    shutdown_timeout_s: float = 10.0
    health_listen: str = ""


def start_service(
    name: str,
    settings: type[S],
    create: Callable[[S], Service],
    *,
    low_priority: bool = False,
    argv: list[str] | None = None,
) -> None:
    """The whole of a service's `__main__`. Prints a ConfigError as one line.

    low_priority: yield the CPU to services that respond to requests. argv: None: that of the
    process.
    """
    try:
        loaded = read_settings(settings, argv)
        if low_priority:
            os.nice(NICE)
        telemetry.start_telemetry(name, loaded)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(create, loaded))
    except ConfigError as error:
        _exit_with(error)
    except BaseExceptionGroup as group:  # from the loops
        if (bad := first_config_error(group)) is None:
            raise
        _exit_with(bad)


async def _serve(create: Callable[[S], Service], settings: S) -> None:
    """Create and run the service inside the loop, which its clients require."""
    await run_services([create(settings)])


def _exit_with(error: BaseException) -> NoReturn:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(2) from error


def first_config_error(group: BaseExceptionGroup) -> ConfigError | None:
    """A ConfigError of the group, at any depth."""
    found: BaseException | None = group.subgroup(ConfigError)
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, ConfigError) else None


async def close_in_order(*parts: Close) -> None:
    """Close the parts one after the other, even if one fails."""
    async with AsyncExitStack() as stack:
        for part in reversed(parts):
            stack.push_async_callback(part)


async def run_services(services: Sequence[Service], *, stop: asyncio.Event | None = None) -> None:
    """Run services in one process until the stop event is set; if a loop fails, stop all and raise.

    stop: without it SIGINT and SIGTERM stop the services, and a shutdown that hangs dumps its
    threads and exits the process after the timeout.
    """
    on_stop = partial(exit_after_timeout, services) if stop is None else None
    stop = stop or stop_on_signals()
    tune_gc()
    tune_malloc()
    try:
        async with asyncio.TaskGroup() as group:
            loops = [loop for service in services for loop in service.loops]
            loops += [partial(serve_health, service) for service in services]
            tasks = [group.create_task(supervise(loop())) for loop in loops]
            group.create_task(_stop(services, stop, tasks, on_stop=on_stop))
    finally:
        await asyncio.gather(
            *(run_with_timeout(one.close(), timeout_s=CLOSE_TIMEOUT_S) for one in services)
        )


def stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    return stop


def exit_timeout_s(shutdown_timeout_s: float) -> float:
    """Maximum time from the signal to the exit of a process."""
    return shutdown_timeout_s + CLOSE_TIMEOUT_S


def exit_after_timeout(services: Sequence[Service]) -> None:
    """If the process is still running after the timeout, dump the stack of each thread and exit."""
    timeout_s = exit_timeout_s(max(service.shutdown_timeout_s for service in services))
    faulthandler.dump_traceback_later(timeout_s, exit=True)


async def _stop(
    services: Sequence[Service],
    stop: asyncio.Event,
    tasks: Sequence["asyncio.Task[None]"],
    *,
    on_stop: Callable[[], None] | None,
) -> None:
    await stop.wait()
    if on_stop is not None:
        on_stop()
    await asyncio.gather(*(_drain(service) for service in services))
    for task in tasks:
        task.cancel()


async def _drain(service: Service) -> None:
    service.health.unavailable.add("stopping")
    if service.drain is not None:
        await run_with_timeout(service.drain(), timeout_s=service.shutdown_timeout_s)


def create_loops(actions: Actions, health: DependencyHealth) -> list[Loop]:
    """A loop for each action, with its interval in seconds."""
    return [partial(run_every, interval_s, action, health) for interval_s, action in actions]


async def run_every(
    interval_s: float, action: Callable[[], Awaitable[None]], health: DependencyHealth
) -> None:
    """A loop: repeat the action and retry while infrastructure is unavailable. If the database
    aborts one of its statements, only this action pauses: the service stays ready."""
    task = asyncio.current_task()
    while True:
        try:
            await retry_while_unavailable(action, health, reraise=Overloaded)
        except Overloaded as error:
            logger.warning("loop.overloaded_database", extra={"error": repr(error.__cause__)})
            await asyncio.sleep(OVERLOADED_PAUSE_S)
        if task is not None and task.cancelling():
            raise asyncio.CancelledError  # the action swallowed it, see kernel.tasks
        await asyncio.sleep(interval_s)


async def serve_health(service: Service) -> None:
    """Serve /live, /ready (503 with the unavailable dependencies) and /metrics on their own
    address."""
    if not service.health_listen:
        return
    runner = web.AppRunner(_health_app(service.health), access_log=None)
    await runner.setup()
    try:
        await _listen(runner, service.health_listen)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, address: str) -> None:
    host, port = split_address(address)
    try:
        await web.TCPSite(runner, host, int(port)).start()
    except OSError as error:
        raise ConfigError(f"Cannot listen on {address} for health checks: {error}.") from error


def _health_app(health: DependencyHealth) -> web.Application:
    async def live(_: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def ready(_: web.Request) -> web.Response:
        body = {"ready": health.ready, "unavailable": sorted(health.unavailable)}
        return web.json_response(body, status=200 if health.ready else 503)

    async def metrics_text(_: web.Request) -> web.Response:
        metrics.ready.set(health.ready)
        return web.Response(body=metrics.render(), content_type="text/plain")

    app = web.Application()
    app.add_routes(
        [web.get("/live", live), web.get("/ready", ready), web.get("/metrics", metrics_text)]
    )
    return app
