"""When an email is to leave: ISO 8601, or the few words that people type into Resend's SDKs."""

import re
from datetime import UTC, datetime, timedelta

AHEAD_MAX = timedelta(days=30)
_UNITS = {
    "second": 1, "sec": 1, "s": 1, "minute": 60, "min": 60, "m": 60, "hour": 3600, "hr": 3600,
    "h": 3600, "day": 86_400, "d": 86_400, "week": 604_800, "w": 604_800,
}  # fmt: skip
_IN = re.compile(r"in\s+(an?|\d{1,7})\s*([a-z]+?)s?", re.IGNORECASE)
_NEEDED = "give an ISO 8601 time such as 2030-01-31T09:00:00Z, or 'in 10 min'"


class BadTime(ValueError):
    """Not a time, or one too far away; the message says which."""


def when(text: str, now: datetime) -> datetime | None:
    """The moment meant; None when that is now or past. Times without a zone are UTC.

    Raises BadTime.
    """
    moment = _spoken(text.strip(), now) or _iso(text.strip())
    if moment - now > AHEAD_MAX:
        raise BadTime(f"scheduled_at is more than {AHEAD_MAX.days} days ahead")
    return moment if moment > now else None


def _spoken(text: str, now: datetime) -> datetime | None:
    if text.lower() == "tomorrow":
        return now + timedelta(days=1)
    match = _IN.fullmatch(text)
    seconds = _UNITS.get(match[2].lower()) if match else None
    if match is None or seconds is None:
        return None
    count = 1 if match[1].lower() in {"a", "an"} else int(match[1])
    return now + timedelta(seconds=count * seconds)


def _iso(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadTime(f"scheduled_at {text[:60]!r} is not a time: {_NEEDED}") from None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise BadTime(f"scheduled_at {text[:60]!r} is no time of ours: {_NEEDED}") from None
