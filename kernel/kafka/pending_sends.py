"""Records that wait to be sent, and the callers that wait for their acknowledgements."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock


class PendingSend:
    """The records of one caller. unacknowledged: how many of them are."""

    __slots__ = ("done", "records", "unacknowledged")

    def __init__(self, records: Sequence[Outgoing]) -> None:
        self.records = records
        self.unacknowledged = len(records)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def acknowledge(self, records: int) -> None:
        self.unacknowledged -= records
        if not self.unacknowledged and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class PartitionRecords(NamedTuple):
    """The records of a caller for one partition."""

    sending: PendingSend
    records: list[Outgoing]


def fill_batch(builder: Any, waiting: deque[PartitionRecords]) -> dict[PendingSend, int]:  # noqa: ANN401 - aiokafka has no types
    """Add records until the batch is full; return the number per caller. Records of callers that
    failed or were cancelled are skipped: they are sent again."""
    taken: dict[PendingSend, int] = {}
    while waiting:
        sending, records = waiting[0]
        if not sending.done.done():
            count = append_records(builder, records)
            if count:
                taken[sending] = count
            if count < len(records):
                del records[:count]
                break
        waiting.popleft()
    return taken


def append_records(builder: Any, records: Sequence[Outgoing]) -> int:  # noqa: ANN401 - as above
    """Add records; return how many fit. At least one does: a batch accepts any first record."""
    now_ms = clock.now_ms()
    for count, record in enumerate(records):
        appended = builder.append(
            timestamp=now_ms,
            key=record.key if record.HasField("key") else None,
            value=record.value if record.HasField("value") else None,
            headers=list(record.headers.items()),
        )
        if appended is None:
            return count
    return len(records)
