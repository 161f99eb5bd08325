"""Fixtures of all tests, and how pytest collects and runs them."""

import asyncio
import gc
import inspect
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

# The order in which workers take up files: the longest first.
FOLDERS = ("faults", "e2e", "conformance", "integration", "hostile", "unit")
TESTS = Path(__file__).parent
HANG_S = 600.0

# It only bounds a hang: the machine may be busy.
os.environ.setdefault("OBM_START_TIMEOUT_S", "600")
# Each module has topics of its own: with all their partitions they would crowd a small broker.
os.environ.setdefault("OBM_KAFKA_PARTITIONS_MAX", "2")

# Their fixtures; importing them takes seconds.
SERVERS = ("tests.support.stack", "tests.support.engine")


def pytest_configure(config: pytest.Config) -> None:
    if not all(map(is_unit, config.args)):
        for name in SERVERS:
            config.pluginmanager.import_plugin(name)


def is_unit(arg: str) -> bool:
    return Path(arg.partition("::")[0]).resolve().is_relative_to(TESTS / "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FOLDERS.index(item.path.relative_to(TESTS).parts[0]))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an asynchronous test in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(_bounded(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})))
    return True


async def _bounded(test: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(HANG_S):
        await test


def pytest_collection_finish() -> None:
    """Keep the garbage collector from walking tests and modules, which all live to the end."""
    gc.collect()
    gc.freeze()
