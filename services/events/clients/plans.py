"""How long the plans of accounts keep the log."""

from collections.abc import Mapping

from contracts.ingest.v1.directory_pb2 import Account
from kernel import clock
from kernel.prices import PriceBook
from kernel.table import ReplicatedTable, TopicReplayer


class AccountPlans:
    """Replicates accounts. A closed one has no plan."""

    def __init__(self, prices: PriceBook, kafka: TopicReplayer) -> None:
        self._prices = prices
        self._accounts = ReplicatedTable(Account, kafka)

    async def kept_longer(self, days: int) -> Mapping[str, int]:
        """The accounts whose plan keeps the log for more days, with these. Waits until all accounts
        are known: of one that is not, everything would be deleted."""
        await self._accounts.replayed.wait()
        plans = self._prices.plans(clock.now().date())
        found = {}
        for account in self._accounts.values():
            plan = plans.get(account.plan)
            if plan is not None and plan.retention_days > days:
                found[account.account_id] = plan.retention_days
        return found
