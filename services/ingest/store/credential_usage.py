"""When API keys and mailboxes were last used: written in groups, apart from the directory, which
would publish each new version."""

from collections.abc import Callable, Sequence

from kernel import clock
from kernel.database import Database

# Several replicas write: one of them within a minute is enough.
SAVE = """
UPDATE {table} SET last_used_at = now() WHERE id = ANY(%s::uuid[])
    AND (last_used_at IS NULL OR last_used_at < now() - interval '55 seconds')
"""
TABLES = ("ingest.api_keys", "ingest.mailboxes")  # an id is in one of them
BATCH = 1_000


class CredentialUsage:
    """take_used: the ids of those that were used since its last call, by monotonic time."""

    def __init__(self, database: Database, take_used: Callable[[float], Sequence[str]]) -> None:
        self._database = database
        self._take_used = take_used

    async def run_once(self) -> None:
        """Those in a batch that fails are written when they are used again."""
        used = self._take_used(clock.monotonic_s())
        for at in range(0, len(used), BATCH):
            for table in TABLES:
                save = SAVE.format(table=table)
                await self._database.execute_autocommit(save, (used[at : at + BATCH],))
