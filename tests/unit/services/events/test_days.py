from datetime import date, timedelta

import pytest

from services.events.domain.days import may_create

TODAY = date(2026, 11, 23)


@pytest.mark.parametrize(
    ("days", "may"), [(2, True), (0, True), (-30, True), (-41, True), (-42, False), (3, False)]
)
def test_a_partition_is_made_inside_the_window_of_scheduling_alone(days: int, may: bool) -> None:
    assert may_create(TODAY + timedelta(days=days), TODAY) is may
