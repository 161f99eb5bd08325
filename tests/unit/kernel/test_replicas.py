"""A process that counts itself among those of its service; the rest needs a database."""

from typing import Any, cast

from kernel.replicas import ReplicaCounter


class NoDatabase:
    def transaction(self) -> None:
        raise AssertionError("it was to be left alone")


async def test_who_never_joined_has_nothing_to_leave() -> None:
    await ReplicaCounter(cast(Any, NoDatabase()), "router").leave()
