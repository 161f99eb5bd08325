"""Days of messages, as the log is kept by them."""

from datetime import date, timedelta

# Scheduled at most 30 days ahead, then on its way for 3, then in a topic for 7, and a day of grace.
WINDOW = timedelta(days=41)


def may_create(day: date, today: date) -> bool:
    """Whether a missing partition was not made yet, rather than dropped."""
    return today - WINDOW <= day <= today + timedelta(days=2)
