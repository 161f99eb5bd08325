"""Times from input are checked against the supported range."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kernel import times
from kernel.ids import canonical_uuid

MOMENT = datetime(2030, 1, 31, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2030-01-31T09:30:00Z",
        "2030-01-31T09:30:00z",
        "2030-01-31T10:30:00+01:00",
        "2030-01-31 09:30",
        " 2030-01-31T09:30:00Z ",
    ],
)
def test_a_time_is_read_in_utc(text: str) -> None:
    assert times.parse_time(text) == MOMENT


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01",
        "0001-01-01T00:00:00+01:00",
        "1960-01-01",
        "9999-12-31T23:59:59-23:59",
        "9999-12-31T23:59:59+23:59",
    ],
)
def test_a_time_out_of_range_is_rejected(text: str) -> None:
    with pytest.raises(times.TimeOutOfRange):
        times.parse_time(text)


@pytest.mark.parametrize(
    "text", ["", "soon", "2030-13-01", "2030-01-31T25:00Z", "x" * 10_000, "\0"]
)
def test_an_invalid_time_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        times.parse_time(text)


@pytest.mark.parametrize("seconds", [-1, 253_402_300_800, 2**62])
def test_a_timestamp_out_of_range_is_rejected(seconds: int) -> None:
    with pytest.raises(times.TimeOutOfRange):
        times.from_timestamp(Timestamp(seconds=seconds))


@pytest.mark.parametrize(
    ("seconds", "shown"), [(253402343999, times.LAST), (-62135600400, times.FIRST)]
)
def test_a_stored_time_out_of_range_is_clamped(seconds: int, shown: datetime) -> None:
    assert times.clamp_timestamp(Timestamp(seconds=seconds)) == shown


def test_a_stored_time_within_range_is_unchanged() -> None:
    good = Timestamp(seconds=1_700_000_000, nanos=5_000)
    assert times.clamp_timestamp(good) == times.from_timestamp(good)
    assert times.clamp_timestamp(Timestamp(seconds=1, nanos=-1)) == times.FIRST + timedelta(
        seconds=1
    )


def test_an_id_has_one_spelling() -> None:
    assert canonical_uuid("019AB000-0000-7000-8000-000000000000") == (
        "019ab000-0000-7000-8000-000000000000"
    )


@pytest.mark.parametrize(
    "text",
    [
        "urn:uuid:019ab000-0000-7000-8000-000000000000",
        "{019ab000-0000-7000-8000-000000000000}",
        "019ab000000070008000000000000000",
        "019ab000-0000-7000-8000-000000000000\n",
        "",
        "x" * 100_000,
    ],
)
def test_other_spellings_of_an_id_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not a UUID"):
        canonical_uuid(text)
