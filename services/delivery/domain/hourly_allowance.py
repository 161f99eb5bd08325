"""How much may be done per hour: a leaky bucket."""

HOUR_S = 3600.0


class HourlyAllowance:
    """per_hour: also the largest burst."""

    def __init__(self, per_hour: int) -> None:
        self._per_hour = per_hour
        self._used = 0.0
        self._at_s = 0.0

    def take(self, now_s: float) -> bool:
        """Whether there is one left. now_s: monotonic time."""
        leaked = (now_s - self._at_s) * self._per_hour / HOUR_S
        self._used, self._at_s = max(0.0, self._used - leaked), now_s
        if self._used + 1 > self._per_hour:
            return False
        self._used += 1
        return True
