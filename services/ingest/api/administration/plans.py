"""The plans of accounts: what they admit. An account without a plan may use everything."""

from collections.abc import Mapping, Sequence
from datetime import date

from contracts.ingest.v1.directory_pb2 import Account, Domain, Mailbox, Tenant
from kernel import clock
from kernel.database import Transaction
from kernel.prices import Feature, Limited, Plan, PriceBook
from services.ingest.api.administration.directory import DEFAULT_POOL
from services.ingest.domain.plan_problem import plan_required
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.store.plan_limits import count_of_plan

NAMES: Mapping[type[Domain | Mailbox | Tenant], Limited] = {
    Domain: "domains",
    Mailbox: "mailboxes",
    Tenant: "tenants",
}


class PlanChecks:
    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices

    @property
    def currency(self) -> str:
        return self._prices.currency

    def find(self, plan_id: str, day: date | None = None) -> Plan | None:
        """Those in force on a day, by default today. None too for one that is in no price book any
        more."""
        return self._prices.find(plan_id, day or clock.now().date())

    def check_account(self, account: Account) -> None:
        """Whether there is its plan, with a brand of its own if it has one. Raises Problem."""
        plan = self.find(account.plan)
        if plan is not None and account.brand and "white_label" not in plan.features:
            raise self.required(plan, "white_label", pointer="#/brand")
        if account.plan and plan is None:
            known = ", ".join(sorted(self._prices.plans(clock.now().date())))
            detail = f"There is no plan {account.plan}. There are {known}."
            raise invalid([Fault("#/plan", "invalid", detail)])

    async def check_pool(self, tx: Transaction, tenant: Tenant) -> None:
        """Raises Problem if the plan has no egress pools but the default one."""
        if tenant.pool_id in {"", DEFAULT_POOL}:
            return
        plan_id, _ = await count_of_plan(tx, Tenant, tenant.account_id)
        plan = self.find(plan_id)
        if plan is not None and "dedicated_ips" not in plan.features:
            raise self.required(plan, "dedicated_ips", pointer="#/pool_id")

    async def check_room(
        self,
        tx: Transaction,
        kind: type[Domain | Mailbox | Tenant],
        account_id: str,
        *,
        pointers: Sequence[str],
    ) -> None:
        """Raises Problem if an account would have more entries than its plan admits. tx: with the
        lock of the directory. pointers: of the new ones; the first beyond the limit is named."""
        if not pointers:
            return
        plan_id, there = await count_of_plan(tx, kind, account_id)
        plan, name = self.find(plan_id), NAMES[kind]
        limit = plan.limits.get(name) if plan else None
        if plan is None or limit is None or there + len(pointers) <= limit:
            return
        detail = (
            f"The plan {plan.name} admits {limit:,} {name}, and there are {there:,}. Delete others,"
            " or ask the operator for another plan."
        )
        raise invalid([Fault(pointers[max(limit - there, 0)], "too_many", detail)])

    def required(self, plan: Plan, feature: Feature, *, pointer: str) -> Problem:
        return plan_required(plan, feature, self._prices.plans(clock.now().date()), pointer=pointer)
