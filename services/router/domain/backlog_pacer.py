"""Backlogs leave at intervals while other tenants have prompt mail.

A scheduler that assigns as much as its limits admit, tick after tick, keeps every processor and
disk busy: mail that has just become due waits behind the backlog at each step inside the engine.
So while a tenant has prompt mail, the backlogs of others are served in one tick of several only.
The ticks between are short, and leave the engine time for what is prompt.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

from services.router.domain.deficit_round_robin import ActiveQueue
from services.router.domain.message import DueMessage

PROMPT_AGE_S = 0.5  # a message that is assigned before is prompt; older ones make a backlog
PROMPT_S = 5.0  # how long backlogs are paced after the last prompt message
INTERVAL_S = 0.1  # between ticks for backlogs


@dataclass(slots=True)
class BacklogPacer:
    """next_s: when backlogs are served again."""

    next_s: float = -inf
    _prompt_until_s: dict[str, float] = field(default_factory=dict)  # of the last two tenants

    def has_prompt(self, now_s: float) -> bool:
        """Whether there is prompt mail."""
        return any(now_s < until_s for until_s in self._prompt_until_s.values())

    def record_due(self, tenant_id: str, rows: Iterable[DueMessage], *, now_s: float) -> None:
        """These rows of a tenant may be assigned now."""
        if any(row.due_s > now_s - PROMPT_AGE_S for row in rows):
            # Two tenants are enough: each backlog is that of another than one of them.
            self._prompt_until_s.pop(tenant_id, None)
            last = list(self._prompt_until_s.items())[-1:]
            self._prompt_until_s = {**dict(last), tenant_id: now_s + PROMPT_S}

    def backlog(
        self,
        active: Iterable[ActiveQueue],
        is_due_since: Callable[[ActiveQueue, float], bool],
        *,
        now_s: float,
    ) -> frozenset[str]:
        """The ids of the queues that are paced. is_due_since: whether a queue has messages that
        have been due since a time."""
        prompt = {one for one, until_s in self._prompt_until_s.items() if now_s < until_s}
        if not prompt:
            return frozenset()
        since_s = now_s - PROMPT_AGE_S
        return frozenset(
            one.queue_id
            for one in active
            if prompt - {one.queue.tenant_id} and is_due_since(one, since_s)
        )

    def begin_turn(self, now_s: float) -> bool:
        """Whether backlogs are served now."""
        if now_s < self.next_s:
            return False
        self.next_s = now_s + INTERVAL_S
        return True
