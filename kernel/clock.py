"""The only module that reads the machine's clock. Decisions use the database's `now()` instead."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def monotonic_s() -> float:
    """For durations; never goes backwards."""
    return time.monotonic()
