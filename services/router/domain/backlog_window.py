"""How much of a backlog may be in flight.

A scheduler that assigns all that its limits admit lets messages queue inside the engine, and keeps
every processor and disk busy: mail that has just become due waits behind the backlog at each step.
So the window of what is in flight grows while messages are attempted soon after their assignment,
and shrinks when they are not. The rule is that of LEDBAT (RFC 6817, sections 2.4 and 3.4): a delay
above the base delay shows a queue before it is full. Only differences of delays count, so that the
clocks of hosts may differ. While there is prompt mail, its delay decides, and the target is small.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from contracts.router.v1.results_pb2 import Result
from kernel.bounded_dict import BoundedDict
from services.router.domain.drr import ActiveQueue
from services.router.domain.events import unix_s
from services.router.domain.message import DueMessage

PROMPT_AGE_S = 0.5  # a message that is assigned before is prompt; older ones make a backlog
PROMPT_S = 5.0  # how long a backlog yields after the last prompt message
PROMPT_TARGET_S = 0.025  # queuing delay that a backlog may cause for prompt mail
TARGET_S = 0.25  # the same, for itself: enough to keep the engine busy
SIZE_MIN = 4.0
SIZE_START = 10.0  # at first, and when prompt mail appears
SIZE_MAX = 10_000.0
GAIN = 0.5  # share of the window that it grows or shrinks by at most, per change
SAMPLES_MIN = 3  # messages that decide a change; the smallest delay counts
BASE_PERIOD_S = 60.0  # the base delay is the smallest of the last periods
BASE_PERIODS = 10
QUEUES_KNOWN = 10_000


class _Period(NamedTuple):
    began_s: float
    smallest_s: float


@dataclass(slots=True)
class BacklogWindow:
    """size: messages in flight, of all queues, up to which backlogs are assigned, once delays are
    known."""

    size: float = SIZE_START
    _prompt_until_s: float = -inf
    _changed_at_s: float = -inf
    _smallest_s: float = inf  # of the delays since the last change
    _samples: int = 0
    _is_used: bool = False  # up, since the last change
    _periods: deque[_Period] = field(default_factory=lambda: deque(maxlen=BASE_PERIODS))
    _backlog_at_s: BoundedDict[str, float] = field(
        default_factory=lambda: BoundedDict(QUEUES_KNOWN)
    )  # when a queue was last a backlog

    def has_prompt(self, now_s: float) -> bool:
        """Whether there is prompt mail."""
        return now_s < self._prompt_until_s

    def available(self, in_flight: int) -> int:
        """Messages of backlogs that may be assigned now. At least one: messages that slow servers
        keep in flight must not stop everything else, and its delay lets the window grow."""
        size = self.size if self._periods else SIZE_MAX
        return max(1, int(size) - in_flight)

    def record_due(self, rows: Iterable[DueMessage], *, now_s: float) -> None:
        """These rows may be assigned now."""
        if not any(row.due_s > now_s - PROMPT_AGE_S for row in rows):
            return
        if not self.has_prompt(now_s):
            self.size = min(self.size, SIZE_START)
            self._restart(now_s)
        self._prompt_until_s = now_s + PROMPT_S

    def backlog(
        self,
        active: Iterable[ActiveQueue],
        is_due_since: Callable[[ActiveQueue, float], bool],
        *,
        now_s: float,
    ) -> frozenset[str]:
        """The ids of the queues that are a backlog. is_due_since: whether a queue has messages that
        have been due since a time."""
        since_s = now_s - PROMPT_AGE_S
        found = frozenset(one.queue_id for one in active if is_due_since(one, since_s))
        for queue_id in found:
            self._backlog_at_s[queue_id] = now_s
        return found

    def record_granted(self, granted: int, available: int) -> None:
        """Backlogs were granted so many of the available messages."""
        self._is_used |= granted >= available

    def observe(self, results: Iterable[Result], *, now_s: float) -> None:
        """The window changes once per round trip: the delays of what was assigned before the last
        change say nothing about it. It does not grow unless backlogs use it up."""
        for one in results:
            if one.HasField("start_delay_ms"):
                self._observe(one, one.start_delay_ms / 1000, now_s)
        if self._samples >= SAMPLES_MIN:
            queuing_s = self._smallest_s - min(one.smallest_s for one in self._periods)
            target_s = PROMPT_TARGET_S if self.has_prompt(now_s) else TARGET_S
            share = max(-1.0, (target_s - queuing_s) / target_s)
            if share < 0 or self._is_used:
                self.size = min(max(self.size * (1 + GAIN * share), SIZE_MIN), SIZE_MAX)
            self._restart(now_s)

    def _observe(self, result: Result, delay_s: float, now_s: float) -> None:
        if not self._periods or now_s >= self._periods[-1].began_s + BASE_PERIOD_S:
            self._periods.append(_Period(now_s, delay_s))
        elif delay_s < self._periods[-1].smallest_s:
            self._periods[-1] = self._periods[-1]._replace(smallest_s=delay_s)
        began_s = self._changed_at_s
        if self.has_prompt(now_s):
            began_s = max(began_s, self._backlog_at_s.get(result.queue_id, -inf))
        if unix_s(result.assigned_at) > began_s:
            self._samples += 1
            self._smallest_s = min(self._smallest_s, delay_s)

    def _restart(self, now_s: float) -> None:
        self._changed_at_s, self._smallest_s = now_s, inf
        self._samples, self._is_used = 0, False
