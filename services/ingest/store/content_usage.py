"""How much content is kept for each tenant, so that one does not fill the store for all."""

from collections import Counter
from collections.abc import Iterator
from datetime import date
from typing import TypeAlias, TypeVar

from kernel.content import Body
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

TenantDay: TypeAlias = tuple[str, date]  # of a tenant: the last one of some of its bodies


class ContentUsage:
    """Counts in memory what is accepted, and adds it to the database at each refresh: accepting
    costs no query. What is accepted between two refreshes may exceed the limit; a crash loses it.

    octets_max: of a tenant's sealed bodies whose last day has not passed. 0: any number.
    """

    def __init__(self, database: Database, *, octets_max: int) -> None:
        self._database = database
        self._octets_max = octets_max
        self._new: Counter[TenantDay] = Counter()
        self._full: set[str] = set()

    def is_full(self, tenant_id: str) -> bool:
        return tenant_id in self._full

    def add(self, tenant_id: str, body: Body) -> None:
        self._new[tenant_id, body.expires_on] += len(body.sealed)

    async def refresh(self) -> None:
        """Save what is new; find who is full, of those who have sent or were so before."""
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
