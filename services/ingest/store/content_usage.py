"""The stored content of each tenant, so that one tenant cannot fill the store."""

from collections import Counter
from collections.abc import Iterator
from datetime import date
from typing import TypeAlias, TypeVar

from kernel.content import SealedContent
from kernel.database import Database

T = TypeVar("T")

PAGE = 500
ADD = """
INSERT INTO ingest.content_usage AS stored (tenant_id, last_day, octets)
SELECT * FROM unnest(%s::text[]::uuid[], %s::date[], %s::bigint[])
ON CONFLICT (tenant_id, last_day) DO UPDATE SET octets = stored.octets + excluded.octets
"""
FULL = """
SELECT tenant_id::text FROM ingest.content_usage
WHERE tenant_id = ANY(%s::text[]::uuid[]) AND last_day >= (now() AT TIME ZONE 'UTC')::date
GROUP BY tenant_id HAVING sum(octets) >= %s
"""

TenantDay: TypeAlias = tuple[str, date]  # tenant id, and the last day of the counted bodies


class ContentUsage:
    """Counts accepted bodies in memory and adds them to the database at each refresh, so that
    accepting costs no query. The limit can be exceeded between two refreshes; a crash loses the
    counts since the last one.

    octets_max: maximum size of a tenant's sealed bodies that have not expired; 0 disables the
    limit.
    """

    def __init__(self, database: Database, *, octets_max: int) -> None:
        self._database = database
        self._octets_max = octets_max
        self._new: Counter[TenantDay] = Counter()
        self._full: set[str] = set()

    def is_full(self, tenant_id: str) -> bool:
        return tenant_id in self._full

    def add(self, tenant_id: str, body: SealedContent) -> None:
        self._new[tenant_id, body.expires_on] += len(body.sealed)

    async def refresh(self) -> None:
        """Save the new counts, and update which tenants have reached the limit."""
        days = sorted(self._new)
        for page in _pages(days):
            await self._save(page)
        full: set[str] = set()
        if self._octets_max:
            for tenants in _pages(sorted(self._full | {tenant_id for tenant_id, _ in days})):
                rows = await self._database.execute_autocommit(FULL, (tenants, self._octets_max))
                full |= {tenant_id for (tenant_id,) in rows}
        self._full = full

    async def _save(self, days: list[TenantDay]) -> None:
        counts = {day: self._new.pop(day) for day in days}
        tenants, last_days = [one for one, _ in days], [day for _, day in days]
        try:
            await self._database.execute_autocommit(
                ADD, (tenants, last_days, list(counts.values()))
            )
        except BaseException:
            self._new.update(counts)
            raise


def _pages(items: list[T]) -> Iterator[list[T]]:
    return (items[start : start + PAGE] for start in range(0, len(items), PAGE))
