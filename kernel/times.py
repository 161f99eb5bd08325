"""Times as strangers write them, ISO 8601 and RFC 3339, within bounds that every part can hold."""

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

# Ids hold milliseconds since 1970, protobuf and JavaScript end with the year 9999. A day is left at
# the end for those who show a time in another zone.
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 30, 23, 59, 59, tzinfo=UTC)
LAST_MS = int(LAST.timestamp()) * 1000
CHARS_MAX = 64

_ZULU = re.compile("[zZ]$")


class TimeOutOfRange(ValueError):
    """A time, but not one that is to be calculated with."""


def parse(text: str) -> datetime:
    """The moment, in UTC; without a zone it is UTC. Raises ValueError."""
    if len(text) > CHARS_MAX or not text.isascii():
        raise ValueError("it is not an ISO 8601 time")
    try:
        moment = datetime.fromisoformat(_ZULU.sub("+00:00", text.strip()))  # RFC 3339 §5.6
    except ValueError:
        raise ValueError("it is not an ISO 8601 time") from None
    return check_range(moment)


def check_range(moment: datetime) -> datetime:
    """In UTC. Raises ValueError for what is out of bounds, before anybody calculates with it."""
    try:
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise TimeOutOfRange(_OUTSIDE) from None
    if not FIRST <= aware <= LAST:
        raise TimeOutOfRange(_OUTSIDE)
    return aware


def from_timestamp(stamp: Timestamp) -> datetime:
    """The moment of a protobuf, in UTC. Raises ValueError."""
    inside = FIRST.timestamp() <= stamp.seconds <= LAST.timestamp()
    if not inside or not 0 <= stamp.nanos < 1_000_000_000:
        raise TimeOutOfRange(_OUTSIDE)
    return clamp_timestamp(stamp)


def clamp_timestamp(stamp: Timestamp) -> datetime:
    """The moment of a protobuf that is stored already, so that one bad one does not break a list of
    good ones: out of bounds it is the bound. In UTC."""
    seconds = min(max(stamp.seconds, 0), LAST_MS // 1000)
    microseconds = min(max(stamp.nanos // 1000, 0), 999_999)
    return FIRST + timedelta(seconds=seconds, microseconds=microseconds)


_OUTSIDE = f"it is not between {FIRST:%Y-%m-%d} and {LAST:%Y-%m-%d}"
