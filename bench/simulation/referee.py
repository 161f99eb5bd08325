"""The referee of limits: counts a sender's attempts by brute force, as receivers see them, and
compares them with the limits that its modules had set at that time."""

from collections import defaultdict
from itertools import accumulate
from typing import NamedTuple

from bench.simulation.parameters import STEP_S, STEPS_PER_DAY, STEPS_PER_HOUR
from services.router.domain.ledger import LimitScope
from services.router.domain.limits import Limits


class Sent(NamedTuple):
    step: int
    messages: int
    limits: Limits
    suspended: bool


class Referee:
    def __init__(self) -> None:
        self._sent: dict[LimitScope, list[Sent]] = defaultdict(list)

    def count(self, scope: LimitScope, sent: Sent) -> None:
        if sent.messages:
            self._sent[scope].append(sent)

    def violations(self, steps: int) -> int:
        """Steps in which a scope sent while suspended, or more than a window allowed."""
        return sum(self._violations_of(sent, steps) for sent in self._sent.values())

    def _violations_of(self, sent: list[Sent], steps: int) -> int:
        per_step = [0] * steps
        for each in sent:
            per_step[each.step] += each.messages
        sums = [0, *accumulate(per_step)]
        return sum(each.suspended or exceeds(each, sums) for each in sent)


def exceeds(sent: Sent, sums: list[int]) -> bool:
    """Whether the windows that end with this step hold more than the limits at this step."""
    limits, end = sent.limits, sent.step + 1
    windows = (
        (limits.per_day, STEPS_PER_DAY, 1.0),
        (limits.per_hour, STEPS_PER_HOUR, 1.0),
        (limits.per_minute, 1, STEP_S / 60),
        (limits.per_second, 1, STEP_S),
    )
    return any(
        limit and sums[end] - sums[max(end - width, 0)] > limit * times
        for limit, width, times in windows
    )
