"""The plans of accounts: what they admit. An account without a plan may use everything."""

from contracts.ingest.v1.directory_pb2 import Account
from kernel import clock
from kernel.prices import Plan, PriceBook
from services.ingest.domain.problem import Fault, invalid


class Plans:
    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices

    def find(self, plan_id: str) -> Plan | None:
        """Those in force today. None too for one that is in no price book any more."""
        return self._prices.find(plan_id, clock.now().date())

    def check_known(self, account: Account) -> None:
        """Raises Problem."""
        if account.plan and self.find(account.plan) is None:
            known = ", ".join(sorted(self._prices.plans(clock.now().date())))
            detail = f"There is no plan {account.plan}. There are {known}."
            raise invalid([Fault("#/plan", "invalid", detail)])
