"""Delete campaigns without mail for long."""

from dataclasses import dataclass

from kernel.clock_check import clocks_agree
from kernel.database import Database
from services.shield.store import campaigns


@dataclass(frozen=True, slots=True)
class CampaignMaintenance:
    database: Database

    async def run_once(self) -> None:
        """In batches, each in a transaction."""
        if not await clocks_agree(self.database):
            return
        deleted = 1
        while deleted:
            async with self.database.transaction() as tx:
                deleted = await campaigns.delete_unused(tx)
