"""Sums of roll-ups, for the role that sees one tenant or one account."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kernel.database import Row, RowOwner, Transaction
from services.events.domain.figures.definitions import IP, POOL, RollUpCube, TimeAxis
from services.events.domain.figures.facts import MessageFacts, decode_facts

OF_TENANT = "tenant_id = %(owner)s::uuid"
OF_ACCOUNT = """tenant_id = ANY(ARRAY(
    SELECT tenant_id FROM events.tenant_accounts WHERE account_id = %(owner)s::uuid))"""
POOLS = """
LEFT JOIN unnest(%(sources)s::text[], %(pools)s::text[]) AS source (id, pool_id)
    ON source.id = dimensions[{place}]
"""
SUMS = """
SELECT {keys} {sums} FROM events.stats_{table} {joined}
WHERE {owned} AND cube = %(cube)s AND axis = %(axis)s
    AND {span} >= %(first)s AND {span} < %(end)s {conditions}
{grouped} LIMIT %(limit)s
"""
OF_EMAILS = """
SELECT tenant_id::text, email_id::text, subject_id::text, facts FROM events.state
WHERE {owner} = %(owner)s::uuid AND email_id = ANY(%(emails)s::uuid[]) AND facts <> ''
LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class RollUpQuery:
    """Which rows to add up. span: hour or day; first, end: hours or days since 1970. bounds: the
    first hour or day of each period; none: all in one. dimensions: of the cube, to group by.
    filters: accepted values by dimension of the cube. tenants: only these; by_tenant: group by
    them. pools: by source, where they are grouped or filtered by."""

    cube: RollUpCube
    axis: TimeAxis
    span: str
    first: int
    end: int
    bounds: Sequence[int] = ()
    dimensions: Sequence[str] = ()
    filters: Mapping[str, Sequence[str]] | None = None
    tenants: Sequence[str] = ()
    by_tenant: bool = False
    pools: Mapping[str, str] | None = None

    def _keys(self) -> list[str]:
        keys = [f"width_bucket({self.span}, %(bounds)s::int[])" if self.bounds else "1"]
        keys.append("tenant_id::text" if self.by_tenant else "''::text")
        return keys + [self._column(one) for one in self.dimensions]

    def _column(self, dimension: str) -> str:
        if dimension == POOL:
            return "coalesce(source.pool_id, '')"
        return f"dimensions[{self.cube.dimensions.index(dimension) + 1}]"

    async def sums(
        self, tx: Transaction, owner: RowOwner, counters: Sequence[str], *, limit: int
    ) -> list[Row]:
        """Number of the period from 1, tenant or empty, values of the dimensions, counters."""
        sums = ", ".join(f"sum({name})::bigint" for name in counters) or "0"
        return await self._rows(tx, owner, table=self.span, sums=sums, extra=0, limit=limit)

    async def histograms(self, tx: Transaction, owner: RowOwner, *, limit: int) -> list[Row]:
        """Likewise, with timing, bucket and messages."""
        sums, table = "timing, bucket, sum(messages)::bigint", f"{self.span}_times"
        return await self._rows(tx, owner, table=table, sums=sums, extra=2, limit=limit)

    async def _rows(
        self, tx: Transaction, owner: RowOwner, *, table: str, sums: str, extra: int, limit: int
    ) -> list[Row]:
        keys, filters = self._keys(), self.filters or {}
        conditions = [
            f"AND {self._column(one)} = ANY(%({one})s::text[])" for one in filters
        ]  # fmt: skip
        if self.tenants:
            conditions.append("AND tenant_id = ANY(%(tenants)s::uuid[])")
        places = ", ".join(str(n + 1) for n in range(len(keys) + extra))
        statement = SUMS.format(
            keys=", ".join(keys) + ",",
            sums=sums,
            table=table,
            joined=self._joined(),
            owned=owned_by(owner),
            span=self.span,
            conditions=" ".join(conditions),
            grouped=f"GROUP BY {places} ORDER BY {places}",
        )
        parameters = {
            "owner": owner.tenant_id or owner.account_id,
            "cube": int(self.cube.id),
            "axis": int(self.axis),
            "first": self.first,
            "end": self.end,
            "bounds": list(self.bounds),
            "tenants": list(self.tenants),
            "limit": limit,
            "sources": list(self.pools or ()),
            "pools": list((self.pools or {}).values()),
            **{one: list(values) for one, values in filters.items()},
        }
        return await tx.rows(statement, parameters)

    def _joined(self) -> str:
        if self.pools is None:
            return ""
        return POOLS.format(place=self.cube.dimensions.index(IP) + 1)


def owned_by(owner: RowOwner) -> str:
    """Of a tenant, an account, or without either of all accounts."""
    if owner.tenant_id is not None:
        return OF_TENANT
    return "true" if owner.account_id is None else OF_ACCOUNT


@dataclass(frozen=True, slots=True)
class MessageFactsRow:
    """The facts of a message, with its ids."""

    tenant_id: str
    email_id: str
    message_id: str
    facts: MessageFacts


async def load_facts(
    tx: Transaction, owner: RowOwner, emails: Sequence[str], *, limit: int
) -> list[MessageFactsRow]:
    column = "account_id" if owner.tenant_id is None else "tenant_id"
    parameters = {
        "owner": owner.tenant_id or owner.account_id, "emails": list(emails), "limit": limit
    }  # fmt: skip
    rows = await tx.rows(OF_EMAILS.format(owner=column), parameters)
    return [
        MessageFactsRow(row[0], row[1], row[2], facts)
        for row in rows
        if (facts := decode_facts(row[3])) is not None
    ]
