"""What tenants and accounts use in a month, and what it costs, for REST and gRPC."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from contracts.events.v1.events_service_pb2 import GetUsageRequest, UsageRow
from kernel import clock
from kernel.prices import Plan
from services.ingest.api.administration.directory import DirectoryResource, parse_id
from services.ingest.api.administration.plans import PlanChecks
from services.ingest.api.callers import Caller, CallerKind, check_live
from services.ingest.clients import ServiceClients
from services.ingest.domain.invoice import (
    OPEN_DAYS,
    BilledQuantities,
    InvoiceLineItem,
    invoice_lines,
    month_of,
    next_month,
)
from services.ingest.domain.problem import Fault, Problem, invalid, not_found
from services.ingest.store.directory_lists import EntryOwner
from services.ingest.store.resource_counts import DailyResourceCounts, ResourceCounts

DAY, TENANT = "day", "tenant"
DEADLINE_S = 10.0


class MonthlyUsage(NamedTuple):
    """plan: of the account; None without one, and for a tenant, whose account has the quota. now:
    what there is; days: what an account had. rows: by day or tenant."""

    owner: EntryOwner
    month: date
    today: date
    plan_id: str
    plan: Plan | None
    total: UsageRow
    now: ResourceCounts
    days: Sequence[DailyResourceCounts]
    rows: Sequence[UsageRow]
    by: str
    rate: int

    @property
    def is_current(self) -> bool:
        return self.month == self.today.replace(day=1)

    @property
    def domains(self) -> int:
        """The most on a day of the month, and now; of a tenant, whose days are not counted, what
        there is now."""
        now = self.now.domains if self.is_current or self.owner.tenant_id else 0
        return max([now, *(one.domains for one in self.days)])

    @property
    def mailboxes(self) -> int:
        now = self.now.mailboxes if self.is_current or self.owner.tenant_id else 0
        return max([now, *(one.mailboxes for one in self.days)])

    @property
    def quantities(self) -> BilledQuantities:
        own = self.total.sent - self.total.sent_of_earlier_months
        return BilledQuantities(
            own, self.domains, self.mailboxes, self.total.sent_of_earlier_months
        )


class Invoice(NamedTuple):
    """Of an account without a plan: no lines."""

    usage: MonthlyUsage
    currency: str
    lines: Sequence[InvoiceLineItem]

    @property
    def is_open(self) -> bool:
        """Whether it may still change."""
        return self.usage.today < next_month(self.usage.month) + timedelta(days=OPEN_DAYS)


class UsageResource:
    """rate: requests that an API key may make in a second."""

    def __init__(
        self,
        clients: ServiceClients,
        directory: DirectoryResource,
        plans: PlanChecks,
        *,
        rate: int,
    ) -> None:
        self._events = clients.events
        self._directory = directory
        self._plans = plans
        self._rate = rate

    async def get(self, caller: Caller, *, period: str, by: str, account_id: str) -> MonthlyUsage:
        """Of a tenant, or of all tenants of an account. Raises Problem."""
        check_live(caller.key, "usage")
        owner = await self._owner_of(caller, account_id)
        today = clock.now().date()
        month = parse_period(period, today)
        names = {"tenant_id": owner.tenant_id, "account_id": owner.account_id}
        whole = GetUsageRequest(**names, month=f"{month:%Y-%m}")
        method = self._events.stub.GetUsage
        totals = await self._events.call(method, whole, deadline_s=DEADLINE_S)
        rows: Sequence[UsageRow] = ()
        if by:
            parts = GetUsageRequest(**names, month=f"{month:%Y-%m}", by=by)
            rows = (await self._events.call(method, parts, deadline_s=DEADLINE_S)).rows
        now, days = await self._directory.resources_of(owner, month, end=next_month(month))
        plan_id = await self._plan_of(owner, days, month=month, today=today)
        return MonthlyUsage(
            owner, month, today, plan_id, self._plans.find(plan_id, month),
            totals.rows[0] if totals.rows else UsageRow(), now, days, rows, by,
            self._rate,
        )  # fmt: skip

    async def preview_invoice(self, caller: Caller, *, period: str, account_id: str) -> Invoice:
        """Raises Problem."""
        usage = await self.get(caller, period=period, by="", account_id=account_id)
        lines = invoice_lines(usage.plan, usage.quantities) if usage.plan else []
        return Invoice(usage, self._plans.currency, lines)

    async def _owner_of(self, caller: Caller, account_id: str) -> EntryOwner:
        """Raises Problem."""
        if caller.kind == CallerKind.OPERATOR:
            if not account_id:
                detail = "Name the account by account_id."
                fault = Fault("#/query/account_id", "missing_required_field", detail)
                raise invalid([fault])
            return EntryOwner((await self._directory.account(account_id)).account_id)
        if account_id and parse_id(account_id, "the account") != caller.account_id:
            raise not_found("the account")
        return EntryOwner(caller.account_id, caller.tenant_id)

    async def _plan_of(
        self, owner: EntryOwner, days: Sequence[DailyResourceCounts], *, month: date, today: date
    ) -> str:
        """A month is billed by the plan of its last day, on which the account existed."""
        if owner.tenant_id:
            return ""
        if month < today.replace(day=1) and days:
            return days[-1].plan
        account = await self._directory.account(owner.account_id)
        if account.deleted:  # after its last month it has none
            return days[-1].plan if days else ""
        return account.plan


def parse_period(text: str, today: date) -> date:
    """Raises Problem."""
    try:
        return month_of(text, today)
    except ValueError:
        detail = f"period must be a month up to {today:%Y-%m}, such as 2026-01."
        fault = Fault("#/query/period", "invalid_parameter", detail)
        raise Problem(422, "validation_error", detail=detail, faults=[fault]) from None


def evidence_of(item: str, usage: MonthlyUsage) -> str:
    """The path of the API that shows the quantity of a line."""
    period = f"{usage.month:%Y-%m}"
    if item != "sends":
        return f"/v1/usage?{urlencode({'period': period, 'by': DAY})}"
    last = next_month(usage.month) - timedelta(days=1)
    query = {
        "metrics": "sent", "dimensions": "period", "start_date": usage.month, "end_date": last,
    }  # fmt: skip
    return f"/v1/emails/metrics?{urlencode(query)}"


def resets_at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
