"""Which erasure is tried when: one that fails does not keep others waiting."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from kernel.errors import Fenced, Unavailable
from services.ingest.domain.problem import Problem
from services.ingest.loops.recipient_erasure import RETRY_S, RecipientErasure
from services.ingest.store.erasures import DueErasure, Erasure

CREATED = datetime(2026, 11, 23, 9, tzinfo=UTC)


class Store:
    """Due erasures in memory. errors: of their passes, by id."""

    def __init__(self, errors: dict[str, Exception]) -> None:
        self.due = {
            one: DueErasure(Erasure(one, "acme", "", 0, CREATED, None), f"{one}@x.example")
            for one in errors
        }
        self.errors = errors
        self.postponed: dict[str, float] = {}

    async def next_due(self) -> DueErasure | None:
        return next(iter(self.due.values()), None)

    async def erase_audit_log(self, erasure: Erasure, _: str, *, after: str) -> None:
        raise self.errors[erasure.erasure_id]

    async def postpone(self, erasure: Erasure, *, delay_s: float) -> None:
        del self.due[erasure.erasure_id]
        self.postponed[erasure.erasure_id] = delay_s


class Erasing(RecipientErasure):
    """With nothing in other services."""

    async def _erase_messages(self, _: DueErasure) -> tuple[int, int]:
        return 0, 0

    async def _erase_suppressions(self, _: DueErasure) -> None:
        return None


def erasing(store: Store) -> RecipientErasure:
    nothing: Any = None
    lease: Any = SimpleNamespace(fence=1)
    given: Any = store
    return Erasing(given, nothing, nothing, lease, settle_s=1.0)


@pytest.mark.parametrize(
    "error", [Problem(503, "unavailable", detail="Later."), Unavailable("x"), ValueError("x")]
)
async def test_an_erasure_that_fails_is_postponed_and_the_next_one_tried(error: Exception) -> None:
    store = Store({"large": error, "small": error})
    await erasing(store).run_once()
    assert store.postponed == {"large": RETRY_S, "small": RETRY_S}


async def test_the_holder_of_a_lost_lease_changes_nothing() -> None:
    store = Store({"first": Fenced("ingest"), "second": Fenced("ingest")})
    await erasing(store).run_once()
    assert store.postponed == {}
