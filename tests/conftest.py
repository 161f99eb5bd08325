"""Fixtures of all tests, and how pytest collects and runs them."""

import asyncio
import gc
import inspect
import os
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import find, settings
from hypothesis.strategies import just

from kernel.memory import GC_THRESHOLDS
from tests.support.workers import pytest_addoption, pytest_runtestloop  # noqa: F401 - hooks

# The order in which workers take up files: the longest first; then those that share an engine, so
# that each worker starts it once; then the other long ones; then the rest by the start of the path.
LONGEST = (
    "faults/test_process_faults.py",
    "faults/test_server_faults.py",
    "e2e/test_the_examples_of_the_docs_work.py",  # before others make a domain of the same name
    "hostile/test_openapi.py",
    "integration/test_events_certificates.py",
    "integration/test_suppression_imports_kept.py",
)
LONG = (
    "e2e/test_one_command_runs_everything.py",
    "conformance/test_shield_corpus.py",
    "integration/test_dkim_rotation.py",
    "integration/test_router_states.py",
)
REST = (
    "faults",
    "e2e",
    "conformance",
    "hostile",
    "integration",
    "k8s",
    "unit/services/shield",  # the longest ones of the unit tests
    "unit/bench",
    "unit/test_house",
    "",
)
TESTS = Path(__file__).parent
HANG_S = 600.0

# Each processor has a worker: numpy's threads would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# No test asks a server for which a public authority vouches. To load all of these takes 25 ms, at
# each client and each start of a service.
os.environ["SSL_CERT_FILE"] = str(TESTS / "support/nobody.pem")
os.environ["SSL_CERT_DIR"] = os.devnull
# It only bounds a hang: the machine may be busy.
os.environ.setdefault("OBM_START_TIMEOUT_S", "600")
# The least that a broker allows by default. A consumer hears of a rebalance by one of the four
# heartbeats of a session, and a member that was killed delays it for a session.
os.environ.setdefault("OBM_KAFKA_SESSION_TIMEOUT_S", "6")
# Each module has topics of its own: with all their partitions they would crowd a small broker.
os.environ.setdefault("OBM_KAFKA_PARTITIONS_MAX", "2")

# An example may take any time, as everything else: by default more than 200 ms are a failure.
settings.register_profile(
    "any time", settings.get_profile(settings.get_current_profile_name()), deadline=None
)
settings.load_profile("any time")

# Their fixtures; importing them takes seconds.
SERVERS = ("tests.support.stack", "tests.support.engine")
WITHOUT_SERVERS = ("unit", "k8s")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Keep the garbage collector from ever walking tests and modules, which all live to the end:
    while they are made it takes a third of the time. Later it looks as seldom as in a service."""
    gc.disable()
    try:
        if needs_servers(session):
            for name in SERVERS:
                session.config.pluginmanager.import_plugin(name)
        # Its generator must be known to Hypothesis before a service that a test runs excludes all
        # objects from collection: it would find nothing that refers to it.
        find(just(0), lambda _: True, settings=settings(database=None))
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()


def needs_servers(session: pytest.Session) -> bool:
    return not all(map(is_without_servers, session.config.args))


def is_without_servers(arg: str) -> bool:
    path = Path(arg.partition("::")[0]).resolve()
    return any(path.is_relative_to(TESTS / name) for name in WITHOUT_SERVERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    sharing = {item.path for item in items if "shared_engine" in getattr(item, "fixturenames", ())}
    ranks = {path: rank(path, shares=path in sharing) for path in {item.path for item in items}}
    items.sort(key=lambda item: ranks[item.path])


def rank(path: Path, *, shares: bool) -> tuple[int, int]:
    """The place of a file in the order. shares: it uses the shared engine."""
    name = path.relative_to(TESTS).as_posix()
    if name in LONGEST:
        return 0, LONGEST.index(name)
    start = next(number for number, start in enumerate(REST) if name.startswith(start))
    return 1 if shares else 2 if name in LONG else 3, start


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an asynchronous test in an event loop: its own, or that of its module."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    test = _bounded(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    shared: Any = pyfuncitem.funcargs.get("module_loop")
    (asyncio.run if shared is None else shared.run)(test)
    return True


async def _bounded(test: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(HANG_S):
        await test
