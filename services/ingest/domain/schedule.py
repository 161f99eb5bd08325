"""Times of an email: scheduled_at in ISO 8601 or in phrases of Resend, and how long it stays."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from kernel import times

AHEAD_MAX = timedelta(days=30)
_UNITS = {
    "second": 1, "sec": 1, "s": 1, "minute": 60, "min": 60, "m": 60, "hour": 3600, "hr": 3600,
    "h": 3600, "day": 86_400, "d": 86_400, "week": 604_800, "w": 604_800,
}  # fmt: skip
_IN = re.compile(r"in\s+(an?|[0-9]{1,7})\s*([a-z]+?)s?", re.IGNORECASE)
_DAY = re.compile(
    r"(today|tomorrow)(?:\s+at\s+([0-9]{1,2})(?::([0-9]{2}))?\s*(am|pm)?)?", re.IGNORECASE
)
_HINT = (
    "Use an ISO 8601 time, for example 2030-01-31T09:00:00Z, or 'in 10 min' or 'tomorrow at 9am'."
)
_TOO_FAR = f"scheduled_at is more than {AHEAD_MAX.days} days ahead."


class InvalidTime(ValueError):
    """The text is not a time, or the time is too far ahead; the message says which."""


def parse_time(text: str, now: datetime) -> datetime | None:
    """The time, or None if it is not in the future. Times without a zone are UTC. Raises
    InvalidTime."""
    given = text.strip()
    moment = _relative(given, now) or _on_a_day(given, now) or _iso(given)
    if moment - now > AHEAD_MAX:
        raise InvalidTime(_TOO_FAR)
    return moment if moment > now else None


def _relative(text: str, now: datetime) -> datetime | None:
    match = _IN.fullmatch(text)
    unit_s = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit_s is None:
        return None
    seconds = unit_s * (1 if match[1].lower() in {"a", "an"} else int(match[1]))
    # checked before the addition: dates end with the year 9999
    if seconds > AHEAD_MAX.total_seconds():
        raise InvalidTime(_TOO_FAR)
    return now + timedelta(seconds=seconds)


def _on_a_day(text: str, now: datetime) -> datetime | None:
    """`tomorrow` is the current time of day; `tomorrow at 9am` and `today at 17:30` are in UTC."""
    match = _DAY.fullmatch(text)
    if match is None:
        return None
    day = now + timedelta(days=match[1].lower() == "tomorrow")
    if match[2] is None:
        return day
    return datetime.combine(day.date(), _clock(match, text), UTC)


def _clock(match: re.Match[str], text: str) -> time:
    hour, minute, half = int(match[2]), int(match[3] or 0), (match[4] or "").lower()
    if half and not 1 <= hour <= 12:
        raise _invalid_time(text)
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    try:
        return time(hour, minute)
    except ValueError:
        raise _invalid_time(text) from None


def _iso(text: str) -> datetime:
    try:
        return times.parse_time(text)
    except times.TimeOutOfRange as error:
        raise InvalidTime(
            f"Invalid scheduled_at {text[:60]!r}: {error}. "
            f"Use an ISO 8601 time at most {AHEAD_MAX.days} days ahead."
        ) from None
    except ValueError:
        raise _invalid_time(text) from None


def _invalid_time(text: str) -> InvalidTime:
    return InvalidTime(f"Invalid scheduled_at {text[:60]!r}. {_HINT}")


@dataclass(frozen=True, slots=True)
class ContentRetention:
    """message: lifetime of a message from its due time. margin: time that content outlives it."""

    message: timedelta
    margin: timedelta

    def retention_of(self, accepted: datetime, *, scheduled: bool) -> tuple[str, date]:
        """The retention class and the last day of the content. A scheduled email can be
        rescheduled, which extends it by up to AHEAD_MAX."""
        end = accepted + self.message + self.margin + (AHEAD_MAX if scheduled else timedelta())
        return ("scheduled" if scheduled else "now"), end.date()
