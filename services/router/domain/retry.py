"""When a message is tried again. Schedule: 1, 5, 15, 30 min, 1, 2, 4 h … (architecture: RFC 5321
§4.5.4.1 asks for at least 30 min in the long run and a life of days)."""

import zlib
from dataclasses import dataclass

SCHEDULE_S = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
JITTER = 0.1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """schedule_s: the wait after the first, second, … try; the last one repeats.

    greylisted_s: the wait after a greylisting, which is no try, unless there
    were greylisted_max attempts without one: who greylists for ever is retried like any other.
    """

    schedule_s: tuple[float, ...] = SCHEDULE_S
    greylisted_s: float = 300.0
    greylisted_max: int = 48

    def delay_s(self, attempt_count: int, *, message_id: str, attempt: int) -> float:
        """After the `attempt_count`-th try (1, 2, …)."""
        base = self.schedule_s[min(attempt_count, len(self.schedule_s)) - 1]
        return base * jitter_factor(message_id, attempt)

    def greylisted_delay_s(self, *, message_id: str, attempt: int) -> float:
        return self.greylisted_s * jitter_factor(message_id, attempt)


def jitter_factor(message_id: str, attempt: int) -> float:
    """±10 %, the same for the same attempt, so that a decision can be repeated."""
    hashed: int = zlib.crc32(f"{message_id}/{attempt}".encode())
    return 1 - JITTER + 2 * JITTER * hashed / 0xFFFFFFFF
