"""Stopping a service."""

import asyncio
import subprocess
import sys
from contextlib import suppress

import pytest

from kernel import service, tasks
from kernel.errors import ConfigError, Overloaded
from kernel.health import DependencyHealth
from kernel.service import Loop, Service, first_config_error, run_every, run_services


async def nothing_to_close() -> None:
    """Nothing to close."""


def run_until_stopped(*loops: Loop) -> None:
    """Run a service with these loops and stop it at once; fail if it takes 5 s."""

    async def scenario() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.02, stop.set)
        one = Service("parcels", loops, nothing_to_close, DependencyHealth())
        async with asyncio.timeout(50):
            await run_services([one], stop=stop)

    asyncio.run(scenario())


async def swallows_first_cancellation() -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    await asyncio.sleep(60)


def test_a_loop_that_loses_its_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "CANCEL_TIMEOUT_S", 0.02)

    run_until_stopped(swallows_first_cancellation)


def test_a_loop_ends_though_its_action_loses_the_cancellation() -> None:
    async def action() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    run_until_stopped(lambda: run_every(60.0, action, DependencyHealth()))


def test_a_process_that_hangs_at_shutdown_dumps_its_stack_and_exits() -> None:
    hanging = """
import asyncio, os, time
from kernel import service
from kernel.health import DependencyHealth

async def send_sigterm():
    os.kill(os.getpid(), 15)

async def hang():
    time.sleep(60)

service.CLOSE_TIMEOUT_S = 0.1
loops = [send_sigterm]
parcels = service.Service("parcels", loops, hang, DependencyHealth(), shutdown_timeout_s=0.1)
asyncio.run(service.run_services([parcels]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", hanging], capture_output=True, text=True, timeout=50, check=False
    )

    assert ended.returncode == 1
    assert "in hang" in ended.stderr


def test_a_loop_that_fails_stops_the_others_and_its_error_is_raised() -> None:
    async def bad() -> None:
        raise ConfigError("PORT: taken")

    with pytest.raises(ExceptionGroup) as failed:
        run_until_stopped(bad, lambda: asyncio.sleep(60))

    assert str(first_config_error(failed.value)) == "PORT: taken"
    assert first_config_error(ExceptionGroup("other", [ValueError()])) is None


def test_a_loop_can_end_before_the_service() -> None:
    run_until_stopped(nothing_to_close, lambda: asyncio.sleep(60))


def test_a_loop_that_overloads_the_database_continues_and_the_service_stays_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "OVERLOADED_PAUSE_S", 0.0)
    health, turns = DependencyHealth(), 0

    async def purge() -> None:
        nonlocal turns
        turns += 1
        assert health.ready
        if turns < 5:
            raise Overloaded("postgresql")
        raise EOFError

    with pytest.raises(EOFError):
        asyncio.run(run_every(0.0, purge, health))
