"""The bench refuses settings that could lose data in a power failure."""

import pytest

from bench.durable import NotDurable, refuse_if_off


def test_a_database_without_sync_is_refused_with_a_hint() -> None:
    with pytest.raises(NotDurable, match="synchronous_commit is off for router_system"):
        refuse_if_off("synchronous_commit", "router_system", value="off")


def test_a_synced_database_is_measured() -> None:
    refuse_if_off("fsync", "router_system", value="on")
