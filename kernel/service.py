"""A service is a name and the loops it runs, until it is told to stop or one of them fails."""

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
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
from kernel.settings import Settings, load
from kernel.tasks import run_with_timeout, supervise

Loop: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
S = TypeVar("S", bound=Settings)
logger = logging.getLogger(__name__)
Close: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

CLOSE_S = 15.0  # to end the loops and close, after the drain; what is left then, a start finds
OVERLOADED_PAUSE_S = 10.0  # as long as the statement took that was given up
NICE = 5  # a third of the weight; nothing where there is room


@dataclass(frozen=True, slots=True)
class Service:
    """name: of the service. loops: run until cancelled. close: after all loops have ended.

    drain: called first when told to stop, while everything still runs: no new work, let what
    runs come to its end. It is given shutdown_timeout_s.
    """

    name: str
    loops: Sequence[Loop]
    close: Close
    health: DependencyHealth
    drain: Close | None = None
    shutdown_timeout_s: float = 10.0
    health_host: str = "127.0.0.1"
    health_port: int | None = None


def start(
    name: str, settings: type[S], create: Callable[[S], Service], *, low_priority: bool = False
) -> None:
    """All of a service's `__main__`. What an operator can put right is told in one line.

    low_priority: yields the processors to services that answer requests.
    """
    try:
        known = load(settings)
        if low_priority:
            os.nice(NICE)
        telemetry.start(name, known)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(create, known))
    except ConfigError as error:
        _refuse(error)
    except BaseExceptionGroup as group:  # of the loops that ran
        if (bad := first_config_error(group)) is None:
            raise
        _refuse(bad)


async def _serve(create: Callable[[S], Service], settings: S) -> None:
    """What a service is made of wants a running loop."""
    await run([create(settings)])


def _refuse(error: BaseException) -> NoReturn:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(2) from error


def first_config_error(group: BaseExceptionGroup) -> ConfigError | None:
    """One that is among what loops ended with."""
    found: BaseException | None = group.subgroup(ConfigError)
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, ConfigError) else None


async def run(services: Sequence[Service], *, stop: asyncio.Event | None = None) -> None:
    """Run one service in production, all five in one process. Any failure stops all, loudly.

    Stops on SIGINT and SIGTERM, or when the event is set. Without one the process is ours, and has
    ended in time: a stop that hangs says where, and is over.
    """
    end = partial(end_in_time, services) if stop is None else None
    stop = stop or stop_on_signals()
    tune_gc()
    tune_malloc()
    try:
        async with asyncio.TaskGroup() as group:
            loops = [loop for service in services for loop in service.loops]
            loops += [partial(serve_health, service) for service in services]
            tasks = [group.create_task(supervise(loop())) for loop in loops]
            group.create_task(_end(services, stop, tasks, told=end))
    finally:
        await asyncio.gather(
            *(run_with_timeout(one.close(), timeout_s=CLOSE_S) for one in services)
        )


def stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    return stop


def exit_within_s(shutdown_timeout_s: float) -> float:
    """From the signal to the end of a process, at most: who kills it then kills one that hangs."""
    return shutdown_timeout_s + CLOSE_S


def end_in_time(services: Sequence[Service]) -> None:
    """Should the process still be there then, it writes where each thread stands, and exits."""
    timeout_s = exit_within_s(max(service.shutdown_timeout_s for service in services))
    faulthandler.dump_traceback_later(timeout_s, exit=True)


async def _end(
    services: Sequence[Service],
    stop: asyncio.Event,
    tasks: Sequence["asyncio.Task[None]"],
    *,
    told: Callable[[], None] | None,
) -> None:
    await stop.wait()
    if told is not None:
        told()
    await asyncio.gather(*(_drain(service) for service in services))
    for task in tasks:
        task.cancel()


async def _drain(service: Service) -> None:
    service.health.unavailable.add("stopping")
    if service.drain is not None:
        await run_with_timeout(service.drain(), timeout_s=service.shutdown_timeout_s)


async def run_every(
    interval_s: float, action: Callable[[], Awaitable[None]], health: DependencyHealth
) -> None:
    """A pump: repeat, and wait while infrastructure is away. When the database gives up on what it
    asks for, that is its own trouble: the service stays ready."""
    task = asyncio.current_task()
    while True:
        try:
            await retry_while_unavailable(action, health, but=Overloaded)
        except Overloaded as error:
            logger.warning("a pump asks too much of the database: %r", error.__cause__)
            await asyncio.sleep(OVERLOADED_PAUSE_S)
        if task is not None and task.cancelling():
            raise asyncio.CancelledError  # the action has lost it, see kernel.tasks
        await asyncio.sleep(interval_s)


async def serve_health(service: Service) -> None:
    """/live, /ready (503 with what is unavailable) and /metrics, on a port of their own."""
    if service.health_port is None:
        return
    runner = web.AppRunner(_health_app(service.health), access_log=None)
    await runner.setup()
    try:
        await _listen(runner, service.health_host, service.health_port)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise ConfigError(f"health port: cannot listen on {host}:{port}: {error}") from error


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
