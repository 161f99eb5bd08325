"""The days of messages, by which the log is partitioned."""

from datetime import date, timedelta

# At most 30 days until a scheduled time, 3 for delivery, 7 in a topic, and 1 as a margin.
WINDOW = timedelta(days=41)


def may_create_partition(day: date, today: date) -> bool:
    """Whether a missing partition was not created yet; otherwise it was dropped."""
    return today - WINDOW <= day <= today + timedelta(days=2)
