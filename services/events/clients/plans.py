"""The plans of accounts, and how long they keep the log."""

from collections.abc import Mapping

from contracts.ingest.v1.directory_pb2 import Account
from kernel import clock
from kernel.prices import PriceBook
from kernel.table import ReplicatedTable, TopicReplayer


class AccountPlans:
    """Replicates accounts. A closed one has no plan."""

    def __init__(self, prices: PriceBook, kafka: TopicReplayer) -> None:
        self.prices = prices
        self._accounts = ReplicatedTable(Account, kafka)

    def plan_of(self, account_id: str) -> str | None:
        """The id of the plan of an account; empty if it has none, None if it is not known yet."""
        account = self._accounts.get(account_id) if self._accounts.replayed.is_set() else None
        return None if account is None else account.plan

    async def kept_longer(self, days: int) -> Mapping[str, int]:
        """The accounts whose plan keeps the log for more days, with these. Waits until all accounts
        are known: of one that is not, everything would be deleted."""
        await self._accounts.replayed.wait()
        plans = self.prices.plans(clock.now().date())
        found = {}
        for account in self._accounts.values():
            plan = plans.get(account.plan)
            if plan is not None and plan.retention_days > days:
                found[account.account_id] = plan.retention_days
        return found
