"""Which limits of tenants, keys and mailboxes mail waits for: an event for each, once a period."""

from collections.abc import Callable, Iterable

from contracts.router.v1.policies_pb2 import LimitReached
from services.router.domain.deficit_round_robin import BlockedQueue
from services.router.domain.events import timestamp
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import DAY, HOUR, Limits
from services.router.domain.message import ScheduledQueue

KINDS = frozenset((ScopeKind.TENANT, ScopeKind.API_KEY, ScopeKind.MAILBOX, ScopeKind.TENANT_SITE))
WIDTHS_S = {one.name: one.width_s for one in (HOUR, DAY)}  # shorter ones are reached all the time
KNOWN_MAX = 10_000


class ReachedLimits:
    """A repeat after another process has taken over has the same natural key."""

    def __init__(self) -> None:
        self._known: dict[tuple[LimitScope, str], int] = {}

    def record(
        self,
        blocked: Iterable[BlockedQueue],
        limits_of: Callable[[LimitScope], Limits],
        *,
        now_s: float,
    ) -> list[LimitReached]:
        """The events of those that had not been reached in this hour or day, in UTC."""
        return [
            reached_event(one, period, limits_of(one.scope), now_s=now_s)
            for one in blocked
            if (period := self._new_period(one, now_s)) is not None
        ]

    def _new_period(self, one: BlockedQueue, now_s: float) -> int | None:
        width_s = WIDTHS_S.get(one.capacity.limited_by)
        if width_s is None or one.scope.kind not in KINDS:
            return None
        key, period = (one.scope, one.capacity.limited_by), int(now_s // width_s)
        if self._known.get(key) == period:
            return None
        if len(self._known) >= KNOWN_MAX:  # then some are told again, with the same id
            self._known.clear()
        self._known[key] = period
        return period


def reached_event(one: BlockedQueue, period: int, limits: Limits, *, now_s: float) -> LimitReached:
    name = one.capacity.limited_by
    return LimitReached(
        scope=one.scope.key,
        limit=name,
        period=period,
        tenant_id=ScheduledQueue.of(one.queue_id).tenant_id,
        maximum=getattr(limits, name),
        reached_at=timestamp(now_s),
        resets_at=timestamp(one.capacity.available_at_s),
    )
