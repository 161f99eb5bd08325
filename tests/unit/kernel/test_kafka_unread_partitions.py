"""Which partitions a consumer has and does not read."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from kernel import clock
from kernel.kafka.consumer import LONG_BATCH_S, UNREAD_MS, ConsumerWorker
from kernel.kafka.unread import UNREAD_CHECKS, UnreadPartitionCheck

NOW_MS = 10 * UNREAD_MS
READ, UNREAD, NEW, BUFFERED, WITHOUT_LEADER = (TopicPartition("mail", n) for n in range(5))
POLLED = {READ: NOW_MS - 500, UNREAD: NOW_MS - UNREAD_MS - 1, NEW: None, BUFFERED: 1}
CONSUMER = SimpleNamespace(
    assignment=lambda: frozenset([*POLLED, WITHOUT_LEADER]),
    last_poll_timestamp=POLLED.get,
    _fetcher=SimpleNamespace(_records={BUFFERED: object()}),
)
CLUSTER: Any = SimpleNamespace(leader_for_partition=lambda tp: -1 if tp == WITHOUT_LEADER else 1)


@pytest.fixture
def worker() -> ConsumerWorker:
    stream: Any = SimpleNamespace(linger_s=0.0)
    made = ConsumerWorker(stream, "g", ["mail"], "", lambda _: None)
    made.find_consumer = lambda: CONSUMER
    return made


def test_a_partition_is_unread_if_its_leader_has_not_answered_for_long(
    worker: ConsumerWorker,
) -> None:
    assert worker.unread(CLUSTER, now_ms=NOW_MS) == {UNREAD, NEW}


def test_a_partition_is_reported_once_it_was_unread_in_several_checks_in_a_row(
    worker: ConsumerWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now_ms", lambda: NOW_MS)
    unread = UnreadPartitionCheck()
    reported = [unread.check([worker], CLUSTER) for _ in range(UNREAD_CHECKS)]
    assert reported == [*[[]] * (UNREAD_CHECKS - 1), ["mail"]]
    assert unread.check([worker], CLUSTER) == []
    assert unread.check([], CLUSTER) == []


def test_nothing_is_unread_beside_a_batch_that_takes_long(
    worker: ConsumerWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.batch_began_s = 100.0
    monkeypatch.setattr(clock, "monotonic_s", lambda: 100.0 + LONG_BATCH_S / 2)
    assert worker.unread(CLUSTER, now_ms=NOW_MS)
    monkeypatch.setattr(clock, "monotonic_s", lambda: 100.0 + LONG_BATCH_S * 2)
    assert not worker.unread(CLUSTER, now_ms=NOW_MS)


def test_a_consumer_that_has_not_started_or_has_ended_has_nothing_to_read(
    worker: ConsumerWorker,
) -> None:
    worker.find_consumer = lambda: None
    assert not worker.unread(CLUSTER, now_ms=NOW_MS)
    worker.find_consumer = lambda: CONSUMER
    worker.ended = True
    assert not worker.unread(CLUSTER, now_ms=NOW_MS)
