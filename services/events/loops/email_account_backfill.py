"""Fills in the accounts of emails that were recorded without one, by an earlier version."""

from kernel.database import Database
from services.events.store import accounts


class EmailAccountBackfill:
    """The action of a loop; any number of replicas may run it at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> None:
        after: str | None = accounts.FIRST
        while after is not None:
            async with self._database.transaction() as tx:
                after = await accounts.backfill_accounts_page(tx, after)
