from datetime import UTC, date, datetime, timedelta

import pytest

from kernel.days import bounds, day_of
from kernel.ids import lower_bound_at, uuid7_text

TODAY = date(2026, 11, 23)


def test_the_day_of_a_row_is_in_its_id() -> None:
    assert day_of(uuid7_text()) == datetime.now(UTC).date()
    assert day_of(str(lower_bound_at(datetime(2026, 11, 23, tzinfo=UTC)))) == TODAY
    before = datetime(2026, 11, 23, tzinfo=UTC) - timedelta(milliseconds=1)
    assert day_of(str(lower_bound_at(before))) == date(2026, 11, 22)


def test_an_id_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        day_of("message-17-of-today")


def test_an_id_of_no_day_that_there_can_be_yet_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing is of"):
        day_of("ffffffff-ffff-7000-8000-000000000000")


def test_the_ids_of_a_day_end_where_those_of_the_next_begin() -> None:
    assert bounds(TODAY)[1] == bounds(TODAY + timedelta(days=1))[0]
