from datetime import date, timedelta
from typing import Any, cast

import pytest

from kernel import clock
from kernel.days import DAY_MS
from kernel.ids import uuid7_of
from services.events.loops.oldest_log_day import OldestLogDay


@pytest.mark.parametrize(
    ("oldest_age", "age", "dropped"),
    [
        (None, 300, False),  # not read yet
        (30, 31, True),
        (30, 30, False),
        (40, 35, False),  # its last message closed late
        (0, 1, False),  # a new log: the partition may not be created yet
        (0, 31, True),
        (30, -3, False),  # in the future
    ],
)
def test_a_day_is_dropped_when_it_is_older_than_retention_and_all_others(
    oldest_age: int | None, age: int, dropped: bool
) -> None:
    oldest = OldestLogDay(cast(Any, None), retention_days=30)
    today: date = clock.now().date()
    oldest.day = None if oldest_age is None else today - timedelta(days=oldest_age)
    message_id = str(uuid7_of(clock.now_ms() - age * DAY_MS, bytes(10)))
    assert oldest.is_dropped(message_id) is dropped
