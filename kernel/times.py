"""Times from input (ISO 8601, RFC 3339), within bounds that every component can represent."""

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

# Ids count milliseconds from 1970; protobuf and JavaScript end with the year 9999. The last day is
# excluded, so that a time can be shown in any zone.
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 30, 23, 59, 59, tzinfo=UTC)
LAST_MS = int(LAST.timestamp()) * 1000
CHARS_MAX = 64

_ZULU = re.compile("[zZ]$")


class TimeOutOfRange(ValueError):
    """A valid time outside the supported range."""


def parse_time(text: str) -> datetime:
    """The moment in UTC, which is also the default zone. Raises ValueError."""
    if len(text) > CHARS_MAX or not text.isascii():
        raise ValueError("it is not an ISO 8601 time")
    try:
        moment = datetime.fromisoformat(_ZULU.sub("+00:00", text.strip()))  # RFC 3339 §5.6
    except ValueError:
        raise ValueError("it is not an ISO 8601 time") from None
    return check_range(moment)


def check_range(moment: datetime) -> datetime:
    """The moment in UTC. Raises TimeOutOfRange."""
    try:
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise TimeOutOfRange(_OUTSIDE) from None
    if not FIRST <= aware <= LAST:
        raise TimeOutOfRange(_OUTSIDE)
    return aware


def from_timestamp(stamp: Timestamp) -> datetime:
    """The moment of a protobuf timestamp in UTC. Raises ValueError."""
    inside = FIRST.timestamp() <= stamp.seconds <= LAST.timestamp()
    if not inside or not 0 <= stamp.nanos < 1_000_000_000:
        raise TimeOutOfRange(_OUTSIDE)
    return clamp_timestamp(stamp)


def clamp_timestamp(stamp: Timestamp) -> datetime:
    """The moment of a stored protobuf timestamp in UTC, clamped to the supported range, so that one
    bad value does not break a list."""
    seconds = min(max(stamp.seconds, 0), LAST_MS // 1000)
    microseconds = min(max(stamp.nanos // 1000, 0), 999_999)
    return FIRST + timedelta(seconds=seconds, microseconds=microseconds)


_OUTSIDE = f"it is not between {FIRST:%Y-%m-%d} and {LAST:%Y-%m-%d}"
