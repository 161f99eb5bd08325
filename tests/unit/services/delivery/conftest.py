"""A pool of connections to receiving servers in memory, and a clock that a test moves."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from kernel import clock
from services.delivery.clients.mx_connector import MxConnector
from services.delivery.clients.smtp.connections import ConnectionPoolConfig, ConnectionRegistry
from tests.support.connections import FakeNetwork, PoolEnvironment

Scenario = Callable[[PoolEnvironment], Awaitable[None]]


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock."""
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now[0])
    return now


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run_scenario(scenario: Scenario, **limits: Any) -> None:  # noqa: ANN401 - fields of ConnectionPoolConfig
        async def main() -> None:
            network, now_s = FakeNetwork(), [1000.0]
            monkeypatch.setattr(clock, "monotonic_s", lambda: now_s[0])
            mx_connector = MxConnector(network, network, allowed=[])
            config = ConnectionPoolConfig(20, messages_per_connection_max=500, idle_timeout_s=15.0)
            connections = ConnectionRegistry(mx_connector, replace(config, **limits))
            await scenario(PoolEnvironment(network, connections, now_s))

        monkeypatch.setattr("services.delivery.clients.mx_connector.may_connect", lambda *_: True)
        asyncio.run(main())

    return run_scenario
