"""Retries of webhook deliveries, and the conditions that disable an endpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# The schedule of the Standard Webhooks specification: the delay before each attempt, in seconds.
# It ends after 75 h 35 min.
SCHEDULE_S = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
JITTER = 0.2
RETRY_AFTER_MAX_S = 86400.0
GONE = 410
CIRCUIT_FAILURES = 5
DISABLE_FAILURES = 20
DISABLE_AFTER = timedelta(hours=120)


@dataclass(frozen=True, slots=True)
class EndpointResponse:
    """status: 0 without a response. error: the reason of a failure; empty after a success. body:
    the beginning of it."""

    status: int
    error: str = ""
    retry_after_s: float = 0.0
    body: str = ""

    @property
    def is_success(self) -> bool:
        return not self.error and 200 <= self.status < 300


def next_delay_s(
    schedule: Sequence[float], attempt_count: int, *, retry_after_s: float, chance: float
) -> float | None:
    """Delay before the next attempt, after `attempt_count` failed attempts; None if it was the
    last.

    chance: 0 to 1, for the jitter. Retry-After can only increase the delay, to at most a day.
    """
    if attempt_count >= len(schedule):
        return None
    jittered = schedule[attempt_count] * (1 + JITTER * (2 * chance - 1))
    return max(jittered, min(retry_after_s, RETRY_AFTER_MAX_S))


def retry_after_s(header: str, *, now: datetime, parsed: datetime | None) -> float:
    """Retry-After (RFC 9110 §10.2.3) in seconds; parsed: the date by parse_http_date."""
    if header.strip().isascii() and header.strip().isdigit():
        return float(header.strip()[:9])
    return max(0.0, (parsed - now).total_seconds()) if parsed else 0.0


def parse_http_date(header: str) -> datetime | None:
    """A date in the preferred format of RFC 9110 §5.6.7; None for any other."""
    try:
        return datetime.strptime(header.strip(), "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return None


def should_disable(failures: int, failing_for: timedelta) -> bool:
    """Whether there were enough failures over a long enough time, without any success."""
    return failures >= DISABLE_FAILURES and failing_for >= DISABLE_AFTER
