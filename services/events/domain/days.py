"""The days of messages, by which the log is partitioned."""

from datetime import date, timedelta

from kernel.days import DAYS_AHEAD

# At most 30 days until a scheduled time, 3 for delivery, 7 in a topic, and 1 as a margin.
WINDOW = timedelta(days=41)


def may_create_partition(day: date, today: date) -> bool:
    """Whether a missing partition was not created yet; otherwise it was dropped."""
    return today - WINDOW <= day <= today + timedelta(days=DAYS_AHEAD)


def may_be_logged_soon(day: date, today: date) -> bool:
    """Whether a message of this day that the log does not have may only be late. An older one was
    dropped with its day, long before no partition of that day may be created any more."""
    return today - timedelta(days=1) <= day <= today + timedelta(days=DAYS_AHEAD)
