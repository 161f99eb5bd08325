import pytest

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, PRIORITY_EXPRESS
from services.ingest.domain.priority import BulkClassifier
from services.ingest.domain.rate_limiter import RateLimiter


def test_requests_over_the_rate_limit_are_refused() -> None:
    limiter = RateLimiter(10)

    rate_limits = [limiter.spend("key", 100.0) for _ in range(12)]

    assert [one.remaining for one in rate_limits] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]
    assert [one.retry_after_s for one in rate_limits] == [0] * 10 + [1, 1]
    assert limiter.spend("key", 100.1).retry_after_s == 0
    assert limiter.spend("key", 100.1).retry_after_s == 1


def test_one_key_does_not_use_up_the_limit_of_another() -> None:
    limiter = RateLimiter(1)
    limiter.spend("one", 5.0)

    assert limiter.spend("one", 5.0).retry_after_s == 1
    assert limiter.spend("two", 5.0).retry_after_s == 0


def test_over_a_minute_the_rate_is_exact() -> None:
    limiter = RateLimiter(5)

    passed = sum(limiter.spend("key", 50 + n / 100).retry_after_s == 0 for n in range(6000))

    assert 5 * 60 <= passed <= 5 * 60 + 5


def test_a_tenants_messages_become_bulk_after_a_thousand_in_ten_seconds_and_recover() -> None:
    classifier = BulkClassifier(1000)

    def classify(messages: int, now_s: float, stream: str = "transactional") -> int:
        return classifier.classify("tenant", stream, messages=messages, now_s=now_s)

    assert classify(600, 0) == PRIORITY_EXPRESS
    assert classify(400, 5) == PRIORITY_EXPRESS
    assert classify(1, 9) == PRIORITY_BULK
    assert classify(1, 11) == PRIORITY_EXPRESS  # the first 600 have been removed
    assert classifier.classify("other", "transactional", messages=1, now_s=9) == PRIORITY_EXPRESS
    assert classify(1, 40, "broadcast") == PRIORITY_BULK
    assert classify(1, 60) == PRIORITY_EXPRESS


@pytest.mark.parametrize(("per_s", "replicas"), [(40, 2), (40, 3), (7, 3), (5, 5), (3, 8)])
def test_the_replicas_together_admit_the_limit(per_s: int, replicas: int) -> None:
    limiters = [RateLimiter(per_s, lambda: replicas) for _ in range(replicas)]

    def admitted(seconds: range) -> int:
        times = [second + tenth / 10 for second in seconds for tenth in range(10)]
        return sum(
            one.spend("key", at).retry_after_s == 0
            for at in times
            for one in limiters
            for _ in range(per_s)
        )

    admitted(range(3))  # the burst
    assert 30 * per_s - replicas <= admitted(range(3, 33)) <= 30 * per_s + replicas


def test_a_replica_more_changes_the_limit_of_a_key_in_use() -> None:
    replicas = 1
    limiter = RateLimiter(10, lambda: replicas)
    assert limiter.spend("key", 50.0).remaining == 9
    replicas = 2

    assert [limiter.spend("key", 50.0).remaining for _ in range(4)] == [7, 5, 3, 1]
    assert limiter.spend("key", 50.0).retry_after_s == 1
    replicas = 1
    assert limiter.spend("key", 50.1).retry_after_s == 0


def test_an_idle_key_takes_no_memory() -> None:
    limiter = RateLimiter(10)

    for number in range(10_000):
        limiter.spend(f"key {number}", number / 100)

    assert len(limiter) <= 200  # those of the last two seconds


def test_sweeping_idle_keys_keeps_busy_ones() -> None:
    limiter = RateLimiter(10)

    for tenth in range(100):
        now_s = tenth / 10
        busy = [limiter.spend("busy", now_s) for _ in range(10)]
        for number in range(50):
            limiter.spend(f"{tenth} {number}", now_s)

    assert sum(rate_limit.retry_after_s == 0 for rate_limit in busy) == 1


def test_an_idle_tenant_takes_no_memory() -> None:
    classifier = BulkClassifier(1000)

    for second in range(10_000):
        classifier.classify(f"tenant {second}", "transactional", messages=1, now_s=second)

    assert len(classifier) <= 20


def test_sweeping_idle_tenants_keeps_busy_ones() -> None:
    classifier = BulkClassifier(1000)

    for second in range(100):
        for number in range(20):
            classifier.classify(f"{second} {number}", "", messages=1, now_s=second)
        found = classifier.classify("busy", "transactional", messages=101, now_s=second)

    assert found == PRIORITY_BULK


def test_the_keys_that_were_used_are_known_until_they_are_taken() -> None:
    limiter = RateLimiter(5)
    limiter.spend("early", 10.0)
    limiter.spend("late", 500.0)  # the state of the other is removed

    assert limiter.take_used(500.1) == ["early", "late"]
    limiter.take_used(520.0)
    assert limiter.take_used(580.0) == []
    limiter.spend("late", 600.0)
    assert limiter.take_used(620.0) == ["late"]
    assert len(limiter) == 0
