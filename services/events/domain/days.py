"""Days of messages, as the log is kept by them."""

from datetime import date, timedelta

# Scheduled at most 30 days ahead, then on its way for 3, then in a topic for 7, and a day of grace.
WINDOW = timedelta(days=41)
EPOCH = date(1970, 1, 1).toordinal()
DAY_MS = 86_400_000


def day_of(identifier: str) -> date:
    """The UTC day of a UUIDv7 in its text form (RFC 9562 §5.7). Raises ValueError."""
    milliseconds = int(identifier[:8] + identifier[9:13], 16)
    return date.fromordinal(EPOCH + milliseconds // DAY_MS)


def may_make(day: date, today: date) -> bool:
    """Whether a missing partition was not made yet, rather than dropped."""
    return today - WINDOW <= day <= today + timedelta(days=1)
