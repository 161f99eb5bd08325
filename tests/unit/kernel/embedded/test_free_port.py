"""Ports for servers: two processes seldom ask for the same, even if one is a fork of the other."""

import os
import secrets
from collections.abc import Iterator

import pytest

from kernel.embedded import folder
from kernel.embedded.folder import free_port, ports_in_turn

PORTS = range(18_000, 28_000)


@pytest.fixture(autouse=True)
def _starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    starts = iter((0, 5000))
    monkeypatch.setattr(secrets, "randbelow", lambda _: next(starts))
    monkeypatch.setattr(folder, "is_free", lambda _: True)
    monkeypatch.setattr(folder, "PORTS", PORTS)  # a worker of the tests has a share of its own
    ports_in_turn.cache_clear()
    yield
    ports_in_turn.cache_clear()


def test_a_process_does_not_get_a_port_twice() -> None:
    assert [free_port() for _ in range(3)] == [PORTS[0], PORTS[1], PORTS[2]]


def test_a_fork_does_not_go_on_where_its_parent_is(monkeypatch: pytest.MonkeyPatch) -> None:
    free_port()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert free_port() == PORTS[5000]
