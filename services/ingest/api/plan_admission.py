"""What the plan of an account admits: features, and quotas of messages. An account without a plan
is not limited, and costs a lookup in memory.

A quota counts live messages when they are accepted, in UTC. Soft ones are not looked at here: what
is beyond them is billed, and reported by events.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import NamedTuple

from contracts.ingest.v1.directory_pb2 import Account
from kernel import clock
from kernel.errors import Unavailable
from kernel.prices import Plan, PriceBook
from services.ingest.api.access import Principal
from services.ingest.domain.invoice import next_month
from services.ingest.domain.plan_problem import plan_required
from services.ingest.domain.problem import Fault, Problem, unavailable
from services.ingest.store.quotas import QuotaKey, QuotaReservation, QuotaUsage

RETRY_MAX_S = 3600  # who waits as long as the response says should notice another plan


class HardQuota(NamedTuple):
    """span: month or day. end: when it begins anew."""

    key: QuotaKey
    span: str
    messages: int
    end: datetime


class PlanAdmission:
    """find_account: in memory; None also for one that has not been read yet."""

    def __init__(
        self, find_account: Callable[[str], Account | None], prices: PriceBook, usage: QuotaUsage
    ) -> None:
        self._find_account = find_account
        self._prices = prices
        self.usage = usage
        self._today, self._until_ms = date.min, 0
        self._plans: Mapping[str, Plan] = {}

    def check_feature(self, principal: Principal) -> None:
        """Raises Problem 403 for live mail by an interface that the plan does not have."""
        if principal.test or (plan := self._plan_of(principal)) is None:
            return
        if principal.interface not in plan.features:
            raise plan_required(plan, principal.interface, self._plans, pointer="#")

    def limits_of(self, principal: Principal) -> Sequence[HardQuota]:
        """Those of live mail of an account with a hard quota."""
        if principal.test or (plan := self._plan_of(principal)) is None or not plan.quota.is_hard:
            return ()
        today, account_id = self._today, principal.tenant.account_id
        month = today.replace(day=1)
        spans = (
            ("month", f"{today:%Y-%m}", plan.quota.month, next_month(month)),
            ("day", str(today), plan.quota.day, today + timedelta(days=1)),
        )
        return [
            HardQuota(QuotaKey(account_id, period), span, messages, _midnight(end))
            for span, period, messages, end in spans
            if messages
        ]

    async def load(self, limits: Sequence[HardQuota]) -> None:
        """Before `admitting`. Raises Problem 503."""
        try:
            await self.usage.load([one.key for one in limits])
        except Unavailable as error:
            raise unavailable() from error

    @contextmanager
    def admitting(self, limits: Sequence[HardQuota], messages: int) -> Iterator[QuotaReservation]:
        """Messages that are about to be committed. Raises Problem 429 if they are too many."""
        for one in limits:
            if self.usage.used(one.key) + messages > one.messages:
                raise quota_exceeded(one, used=self.usage.used(one.key), messages=messages)
        reservation = self.usage.reserve([one.key for one in limits], messages)
        try:
            yield reservation
        finally:
            reservation.release()

    def _plan_of(self, principal: Principal) -> Plan | None:
        account = self._find_account(principal.tenant.account_id)
        if account is None or not account.plan:
            return None
        if clock.now_ms() >= self._until_ms:
            self._begin_day(clock.now().date())
        return self._plans.get(account.plan)

    def _begin_day(self, today: date) -> None:
        self._today, self._plans = today, self._prices.plans(today)
        self._until_ms = int(_midnight(today + timedelta(days=1)).timestamp() * 1000)
        self.usage.keep({f"{today:%Y-%m}", str(today)})


def quota_exceeded(limit: HardQuota, *, used: int, messages: int) -> Problem:
    """Resend's names."""
    name = {"month": "monthly_quota_exceeded", "day": "daily_quota_exceeded"}[limit.span]
    detail = (
        f"The plan admits {limit.messages:,} messages a {limit.span}. {used:,} are used, and this "
        f"request has {messages:,}; nothing was accepted. Wait until {limit.end:%Y-%m-%d %H:%M} "
        "UTC, or ask the operator for another plan."
    )
    wait_s = (limit.end - clock.now()).total_seconds()
    return Problem(
        429, name, detail=detail, faults=[Fault("#/to", name, detail)],
        retry_after_s=min(RETRY_MAX_S, max(1, int(wait_s))),
    )  # fmt: skip


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), clock.now().tzinfo)
