from datetime import UTC, date, datetime, timedelta

import pytest

from kernel.ids import first_of, uuid7_text
from services.events.domain.days import day_of, may_make

TODAY = date(2026, 11, 23)


def test_the_day_of_a_message_is_in_its_id() -> None:
    assert day_of(uuid7_text()) == datetime.now(UTC).date()
    assert day_of(str(first_of(datetime(2026, 11, 23, tzinfo=UTC)))) == TODAY
    before = datetime(2026, 11, 23, tzinfo=UTC) - timedelta(milliseconds=1)
    assert day_of(str(first_of(before))) == date(2026, 11, 22)


def test_an_id_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        day_of("message-17-of-today")


@pytest.mark.parametrize(
    ("days", "may"), [(1, True), (0, True), (-30, True), (-41, True), (-42, False), (2, False)]
)
def test_a_partition_is_made_inside_the_window_of_scheduling_alone(days: int, may: bool) -> None:
    assert may_make(TODAY + timedelta(days=days), TODAY) is may
