"""Fills in the accounts of emails, messages and tags that were recorded without one, by an earlier
version or before their tenant was known."""

from kernel.database import Database
from services.events.store import accounts


class AccountBackfill:
    """The action of a loop; any number of replicas may run it at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> None:
        for table in accounts.TABLES:
            after: str | None = accounts.FIRST
            while after is not None:
                async with self._database.transaction() as tx:
                    after = await accounts.backfill_accounts_page(tx, table, after=after)
