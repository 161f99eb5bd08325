"""The delay before a retry: 1, 5, 15, 30 min, 1, 2, 4 h, … RFC 5321 §4.5.4.1 recommends at least
30 min in the long run, and to give up only after days."""

import zlib
from dataclasses import dataclass

SCHEDULE_S = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
JITTER = 0.1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """schedule_s: the delay after the first, second, … attempt; the last one repeats.

    greylisted_s: the delay after a greylisted attempt. It does not use up the schedule, until there
    were greylisted_max such attempts: endless greylisting is retried by the schedule.
    """

    schedule_s: tuple[float, ...] = SCHEDULE_S
    greylisted_s: float = 300.0
    greylisted_max: int = 48

    def delay_s(self, attempt_count: int, *, message_id: str, attempt: int) -> float:
        """The delay after the attempt with this attempt count (1, 2, …)."""
        base = self.schedule_s[min(attempt_count, len(self.schedule_s)) - 1]
        return base * jitter_factor(message_id, attempt)

    def greylisted_delay_s(self, *, message_id: str, attempt: int) -> float:
        return self.greylisted_s * jitter_factor(message_id, attempt)


def jitter_factor(message_id: str, attempt: int) -> float:
    """±10 %. It is the same for the same attempt, so that a decision can be repeated."""
    hashed: int = zlib.crc32(f"{message_id}/{attempt}".encode())
    return 1 - JITTER + 2 * JITTER * hashed / 0xFFFFFFFF
