import asyncio
from typing import Any

from kernel import metrics
from services.ingest.store.backpressure import BROKER, DISK, Backpressure


class FakeDependencies:
    """An outbox and a content store with a configurable load."""

    waiting, free = 0, 1.0

    async def backlog(self) -> tuple[int, float]:
        return self.waiting, float(self.waiting)

    async def free_ratio(self) -> float:
        return self.free

    async def refresh(self) -> None:
        pass


def test_new_mail_is_refused_while_the_disk_is_nearly_full() -> None:
    around: Any = FakeDependencies()
    backpressure = Backpressure(around, around, around, messages_max=10, age_max_s=60, free_min=0.1)

    seen = []
    for around.waiting, around.free in ((0, 0.2), (0, 0.09), (10, 0.2), (0, 0.2)):
        asyncio.run(backpressure.run_once())
        seen.append(backpressure.refusal)

    assert seen == ["", DISK, BROKER, ""]


def test_the_age_of_the_outbox_is_measured() -> None:
    around: Any = FakeDependencies()
    around.waiting = 7
    backpressure = Backpressure(around, around, around, messages_max=10, age_max_s=60, free_min=0.1)
    asyncio.run(backpressure.run_once())
    assert metrics.registry.get_sample_value("obm_outbox_age_seconds") == 7.0
