from datetime import UTC, datetime, timedelta

import pytest

from services.ingest.domain.schedule import InvalidTime, parse_time

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("in 1 min", 60),
        ("in 2 minutes", 120),
        ("In an hour", 3600),
        ("in 3 hrs", 3 * 3600),
        ("in 1 week", 7 * 86_400),
        ("tomorrow", 86_400),
        ("2030-01-31T12:00:01Z", 1),
        ("2030-01-31T14:00:01+02:00", 1),
        ("2030-01-31T12:00:01", 1),
    ],
)
def test_times_are_accepted_in_the_forms_of_sdks(text: str, seconds: int) -> None:
    assert parse_time(text, NOW) == NOW + timedelta(seconds=seconds)


def test_a_time_that_has_passed_means_now() -> None:
    assert parse_time("2030-01-31T11:59:59Z", NOW) is None
    assert parse_time("in 0 min", NOW) is None


@pytest.mark.parametrize(
    "text", ["", "soon", "in 1 fortnight", "2030-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00"]
)
def test_an_invalid_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidTime, match="ISO 8601"):
        parse_time(text, NOW)


def test_nothing_is_scheduled_for_more_than_thirty_days_ahead() -> None:
    assert parse_time("in 30 days", NOW) == NOW + timedelta(days=30)
    with pytest.raises(InvalidTime, match="30 days"):
        parse_time("in 31 days", NOW)
    with pytest.raises(InvalidTime, match="30 days"):
        parse_time("9999-12-31T23:59:59Z", NOW)
