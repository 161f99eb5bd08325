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
INSERT INTO ingest.stored AS known (tenant_id, last_day, octets)
SELECT * FROM unnest(%s::text[]::uuid[], %s::date[], %s::bigint[])
ON CONFLICT (tenant_id, last_day) DO UPDATE SET octets = known.octets + excluded.octets
"""
FULL = """
SELECT tenant_id::text FROM ingest.stored
WHERE tenant_id = ANY(%s::text[]::uuid[]) AND last_day >= (now() AT TIME ZONE 'UTC')::date
GROUP BY tenant_id HAVING sum(octets) >= %s
"""

Day: TypeAlias = tuple[str, date]  # of a tenant: the last one of some of its bodies


class Stored:
    """Counts in memory what is accepted, and adds it to the database at each look: accepting costs
    no query. What is accepted between two looks may go over the limit; a crash forgets it.

    octets_max: of a tenant's sealed bodies whose last day has not passed. 0: any number.
    """

    def __init__(self, database: Database, *, octets_max: int) -> None:
        self._database = database
        self._octets_max = octets_max
        self._new: Counter[Day] = Counter()
        self._full: set[str] = set()

    def is_full(self, tenant_id: str) -> bool:
        return tenant_id in self._full

    def add(self, tenant_id: str, body: Body) -> None:
        self._new[tenant_id, body.until] += len(body.sealed)

    async def look(self) -> None:
        """Save what is new; find who is full, of those who have sent or were so before."""
        days = sorted(self._new)
        for page in _pages(days):
            await self._save(page)
        full: set[str] = set()
        if self._octets_max:
            for tenants in _pages(sorted(self._full | {tenant_id for tenant_id, _ in days})):
                rows = await self._database.once(FULL, (tenants, self._octets_max))
                full |= {tenant_id for (tenant_id,) in rows}
        self._full = full

    async def _save(self, days: list[Day]) -> None:
        taken = {day: self._new.pop(day) for day in days}
        tenants, last_days = [one for one, _ in days], [day for _, day in days]
        try:
            await self._database.once(ADD, (tenants, last_days, list(taken.values())))
        except BaseException:
            self._new.update(taken)
            raise


def _pages(items: list[T]) -> Iterator[list[T]]:
    return (items[start : start + PAGE] for start in range(0, len(items), PAGE))
