from datetime import UTC, datetime, timedelta

import pytest

from services.events.domain.schedule import (
    SCHEDULE_S,
    EndpointResponse,
    next_delay_s,
    parse_http_date,
    retry_after_s,
    should_disable,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_the_schedule_has_ten_attempts_in_75_hours_and_35_minutes() -> None:
    assert len(SCHEDULE_S) == 10
    assert sum(SCHEDULE_S) == timedelta(hours=75, minutes=35, seconds=5).total_seconds()


@pytest.mark.parametrize(("chance", "expected"), [(0.0, 240.0), (0.5, 300.0), (1.0, 360.0)])
def test_a_delay_varies_by_a_fifth(chance: float, expected: float) -> None:
    assert next_delay_s(SCHEDULE_S, 2, retry_after_s=0, chance=chance) == pytest.approx(expected)


def test_there_is_no_delay_after_the_last_attempt() -> None:
    assert next_delay_s(SCHEDULE_S, 9, retry_after_s=0, chance=0.5) == 86400
    assert next_delay_s(SCHEDULE_S, 10, retry_after_s=3600, chance=0.5) is None


@pytest.mark.parametrize(("header_s", "expected"), [(3600, 3600), (1, 5), (10**9, 86400)])
def test_retry_after_only_increases_the_delay_to_at_most_a_day(
    header_s: float, expected: float
) -> None:
    assert next_delay_s(SCHEDULE_S, 1, retry_after_s=header_s, chance=0.5) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [("120", 120), (" 7 ", 7), ("soon", 0), ("-5", 0), ("9" * 30, 999999999)],
)
def test_retry_after_is_parsed_as_seconds(header: str, expected: float) -> None:
    assert retry_after_s(header, now=NOW, parsed=None) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Mon, 23 Nov 2026 12:03:00 GMT", 180),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0),
        ("Mon, 23 Nov 2026", 0),
        ("…", 0),
    ],
)
def test_retry_after_is_parsed_as_a_date(header: str, expected: float) -> None:
    assert retry_after_s(header, now=NOW, parsed=parse_http_date(header)) == expected


@pytest.mark.parametrize(
    ("failures", "hours", "expected"),
    [(19, 500, False), (20, 119, False), (20, 120, True), (500, 121, True)],
)
def test_an_endpoint_is_disabled_after_enough_failures_over_enough_time(
    failures: int, hours: int, expected: bool
) -> None:
    assert should_disable(failures, timedelta(hours=hours)) is expected


@pytest.mark.parametrize(("status", "ok"), [(200, True), (204, True), (302, False), (410, False)])
def test_only_2xx_is_success(status: int, ok: bool) -> None:
    assert EndpointResponse(status).is_success is ok
    assert not EndpointResponse(status, "failed").is_success
