"""The period of a query, and the smaller ones into which it is divided, in a time zone.

Figures are counted by hours and days in UTC. Where a time zone is off by half an hour, its days
begin at the next full hour; where only days are kept, its days are those of UTC.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kernel import times

GRANULARITIES = ("hourly", "daily", "weekly", "monthly")
PERIODS_MAX = 10_000
DEFAULT_DAYS = timedelta(days=6)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EPOCH = date(1970, 1, 1)
EPOCH_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidPeriod(ValueError):
    """The text explains it. field: of the request."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


@dataclass(frozen=True, slots=True)
class MetricsPeriod:
    """start: inclusive, end: exclusive; in the zone."""

    start: datetime
    end: datetime
    zone: ZoneInfo
    granularity: str

    def hours(self) -> tuple[int, int]:
        """The hours since 1970 that the period touches; the second is exclusive."""
        return (self.start - EPOCH_TIME) // HOUR, _hour_after(self.end)

    def days(self) -> tuple[int, int]:
        """The days since 1970 that the period touches, by their dates in the zone."""
        return _day(self.start), _day(self.end - timedelta(microseconds=1)) + 1

    def is_whole_days(self, now: datetime) -> bool:
        """Whether these days in UTC are the same as the period: nothing happens after now."""
        return _is_midnight(self.start) and (_is_midnight(self.end) or self.end >= now)

    def starts(self) -> list[datetime]:
        """Of the smaller periods. Raises InvalidPeriod if there are too many."""
        found = [first_start(self.start, self.granularity)]
        while (following := next_start(found[-1], self.granularity)) < self.end:
            found.append(following)
            if len(found) > PERIODS_MAX:
                detail = f"There are more than {PERIODS_MAX:,} periods. Use a longer granularity."
                raise InvalidPeriod("granularity", detail)
        return found


def bounds_of(starts: list[datetime], *, hourly: bool) -> list[int]:
    """The first hour or day of each period, since 1970."""
    return [_hour_after(one) if hourly else _day(one) for one in starts]


def index_of(bounds: list[int], at: int) -> int:
    """Of the period of an hour or day; those before the first belong to it."""
    return max(bisect_right(bounds, at) - 1, 0)


def label_of(start: datetime, granularity: str) -> str:
    """The name of a period: its date, or of an hour its time."""
    return start.isoformat(timespec="seconds") if granularity == "hourly" else str(start.date())


def parse_period(
    start: str, end: str, *, timezone: str, granularity: str, now: datetime
) -> MetricsPeriod:
    """Empty texts have their defaults. A date as end includes the day. Raises InvalidPeriod."""
    zone = zone_of(timezone or "UTC")
    granularity = granularity or "daily"
    if granularity not in GRANULARITIES:
        detail = f"granularity is one of {', '.join(GRANULARITIES)}."
        raise InvalidPeriod("granularity", detail)
    now = now.astimezone(zone)
    last = _parse(end, "end_date", zone, is_end=True) if end else now
    last = min(last, now)
    default = _midnight(last.date() - DEFAULT_DAYS, zone)
    first = _parse(start, "start_date", zone) if start else default
    if first >= last:
        detail = f"start_date is {first.isoformat()}, which is not before end_date or now."
        raise InvalidPeriod("start_date", detail)
    return MetricsPeriod(first, last, zone, granularity)


@lru_cache(maxsize=1_000)
def zone_of(name: str) -> ZoneInfo:
    """Raises InvalidPeriod."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        detail = "timezone is no IANA name. It looks like Europe/Berlin."
        raise InvalidPeriod("timezone", detail) from None


def _parse(text: str, field: str, zone: ZoneInfo, *, is_end: bool = False) -> datetime:
    try:
        if len(text) <= len("2026-01-31"):
            day = date.fromisoformat(text)
            times.parse_time(text)
            return _midnight(day + DAY if is_end else day, zone)
        moment = datetime.fromisoformat(text.replace(" ", "+"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        return times.check_range(moment).astimezone(zone)
    except (ValueError, OverflowError):
        detail = f"{field} is no ISO 8601 date or time. It looks like 2026-01-31."
        raise InvalidPeriod(field, detail) from None


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)


def first_start(moment: datetime, granularity: str) -> datetime:
    """Of the smaller period in which a moment is."""
    if granularity == "hourly":
        return moment.replace(minute=0, second=0, microsecond=0)
    day = moment.date()
    if granularity == "weekly":
        day -= timedelta(days=day.weekday())
    elif granularity == "monthly":
        day = day.replace(day=1)
    return _midnight(day, moment.tzinfo)  # type: ignore[arg-type]


def next_start(start: datetime, granularity: str) -> datetime:
    """Of the smaller period after. Hours pass in UTC, so that none is left out or doubled when
    clocks change."""
    if granularity == "hourly":
        return (start.astimezone(UTC) + HOUR).astimezone(start.tzinfo)
    days = timedelta(days={"daily": 1, "weekly": 7}.get(granularity, 31))
    return first_start(_midnight(start.date() + days, start.tzinfo), granularity)  # type: ignore[arg-type]


def _is_midnight(moment: datetime) -> bool:
    utc = moment.astimezone(UTC)
    return utc.time() == time()


def _hour_after(moment: datetime) -> int:
    """The first hour that does not begin before a moment."""
    return -((EPOCH_TIME - moment) // HOUR)


def _day(moment: datetime) -> int:
    return (moment.date() - EPOCH).days
