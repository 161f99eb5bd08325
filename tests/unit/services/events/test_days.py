from datetime import date, timedelta

import pytest

from services.events.domain.days import may_be_logged_soon, may_create_partition

TODAY = date(2026, 11, 23)


@pytest.mark.parametrize(
    ("days", "expected"), [(3, True), (0, True), (-30, True), (-41, True), (-42, False), (4, False)]
)
def test_a_partition_is_created_only_within_the_window(days: int, expected: bool) -> None:
    assert may_create_partition(TODAY + timedelta(days=days), TODAY) is expected


@pytest.mark.parametrize(
    ("days", "expected"), [(-35, False), (-2, False), (-1, True), (0, True), (3, True), (4, False)]
)
def test_only_a_young_message_may_be_late(days: int, expected: bool) -> None:
    assert may_be_logged_soon(TODAY + timedelta(days=days), TODAY) is expected
