from datetime import UTC, date, datetime, timedelta

import pytest

from kernel.days import day_of, id_bounds
from kernel.ids import lower_bound_at, uuid7_text

TODAY = date(2026, 11, 23)


def test_an_id_contains_the_day_of_its_row() -> None:
    assert day_of(uuid7_text()) == datetime.now(UTC).date()
    assert day_of(str(lower_bound_at(datetime(2026, 11, 23, tzinfo=UTC)))) == TODAY
    before = datetime(2026, 11, 23, tzinfo=UTC) - timedelta(milliseconds=1)
    assert day_of(str(lower_bound_at(before))) == date(2026, 11, 22)


def test_an_invalid_id_is_rejected() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        day_of("message-17-of-today")


def test_an_id_from_the_future_is_rejected() -> None:
    with pytest.raises(ValueError, match="is in the future"):
        day_of("ffffffff-ffff-7000-8000-000000000000")


def test_the_id_ranges_of_consecutive_days_are_adjacent() -> None:
    assert id_bounds(TODAY)[1] == id_bounds(TODAY + timedelta(days=1))[0]
