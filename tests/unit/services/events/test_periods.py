"""Periods of figures in a time zone."""

from datetime import UTC, date, datetime, timedelta

import pytest

from services.events.domain.figures.periods import (
    InvalidPeriod,
    MetricsPeriod,
    bounds_of,
    index_of,
    label_of,
    parse_period,
)

NOW = datetime(2026, 5, 17, 10, 30, tzinfo=UTC)
DAY = 24


def parsed(
    start: str = "", end: str = "", *, timezone: str = "", granularity: str = ""
) -> MetricsPeriod:
    return parse_period(start, end, timezone=timezone, granularity=granularity, now=NOW)


def day(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


def labels(period: MetricsPeriod) -> list[str]:
    return [label_of(one, period.granularity) for one in period.starts()]


def test_by_default_the_last_seven_days_until_now() -> None:
    period = parsed()
    assert period.days() == (day("2026-05-11"), day("2026-05-18"))
    assert period.is_whole_days(NOW)
    assert labels(period)[0] == "2026-05-11"
    assert len(period.starts()) == 7


def test_a_date_as_end_includes_the_day() -> None:
    period = parsed("2026-04-01", "2026-04-30")
    assert period.days() == (day("2026-04-01"), day("2026-05-01"))
    assert period.hours() == (day("2026-04-01") * DAY, day("2026-05-01") * DAY)


def test_times_are_rounded_to_whole_hours() -> None:
    period = parsed("2026-05-01T10:20:00Z", "2026-05-01T12:01:00Z")
    start = day("2026-05-01") * DAY
    assert period.hours() == (start + 10, start + 13)
    assert not period.is_whole_days(NOW)


def test_hours_pass_once_each_when_clocks_change() -> None:
    for text, hours in (("2026-03-29", 23), ("2025-10-26", 25)):
        period = parsed(text, text, timezone="Europe/Berlin", granularity="hourly")
        assert len(period.starts()) == hours
        assert len(set(labels(period))) == hours
        bounds = bounds_of(period.starts(), hourly=True)
        assert bounds == list(range(bounds[0], bounds[0] + hours))
        first, end = period.hours()
        assert (first, end) == (bounds[0], bounds[0] + hours)


def test_days_of_a_zone_begin_at_its_midnight() -> None:
    period = parsed("2026-05-01", "2026-05-02", timezone="America/New_York")
    start = day("2026-05-01") * DAY
    assert bounds_of(period.starts(), hourly=True) == [start + 4, start + 28]
    assert bounds_of(period.starts(), hourly=False) == [day("2026-05-01"), day("2026-05-02")]
    assert not period.is_whole_days(NOW)


def test_days_of_a_half_hour_zone_begin_at_the_next_full_hour() -> None:
    period = parsed("2026-05-01", "2026-05-02", timezone="Asia/Kolkata")
    midnight = day("2026-05-01") * DAY - 6  # 18:30 of the day before in UTC
    assert bounds_of(period.starts(), hourly=True) == [midnight + 1, midnight + 25]


def test_weeks_begin_on_monday_and_months_on_their_first_day() -> None:
    weeks = parsed("2026-04-29", "2026-05-12", granularity="weekly")
    assert labels(weeks) == ["2026-04-27", "2026-05-04", "2026-05-11"]
    months = parsed("2025-12-31", "2026-02-01", granularity="monthly")
    assert labels(months) == ["2025-12-01", "2026-01-01", "2026-02-01"]


def test_each_hour_of_a_period_is_in_one_of_its_parts() -> None:
    for zone in ("UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"):
        period = parsed("2026-03-20", "2026-04-10", timezone=zone)
        bounds = bounds_of(period.starts(), hourly=True)
        first, end = period.hours()
        counts = [0] * len(bounds)
        for hour in range(first, end):
            counts[index_of(bounds, hour)] += 1
        assert sum(counts) == end - first
        assert all(23 <= count <= 26 for count in counts)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("start_date", {"start": "2026-05-18"}),
        ("start_date", {"start": "0000-00-00"}),
        ("start_date", {"start": "2026-05-10", "end": "2026-05-09"}),
        ("end_date", {"end": "9" * 400}),
        ("end_date", {"end": "9999-12-31"}),
        ("timezone", {"timezone": "../etc/passwd"}),
        ("timezone", {"timezone": "\0"}),
        ("granularity", {"granularity": "yearly"}),
    ],
)
def test_what_is_wrong_is_named(field: str, given: dict[str, str]) -> None:
    with pytest.raises(InvalidPeriod) as refused:
        parsed(**given)
    assert refused.value.field == field


def test_too_many_periods_are_refused() -> None:
    with pytest.raises(InvalidPeriod, match="10,000"):
        parsed("2020-01-01", granularity="hourly").starts()


def test_an_end_in_the_future_is_now() -> None:
    assert parsed("2026-05-17", "2026-05-20").end == NOW
    assert parsed("2026-05-17").start == NOW - timedelta(hours=10, minutes=30)
