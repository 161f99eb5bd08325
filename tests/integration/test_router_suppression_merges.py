"""Additions of the same address, and changes of a suppression while it is removed, on real
PostgreSQL."""

import asyncio
from collections.abc import Sequence
from itertools import combinations, pairwise, permutations
from math import inf
from uuid import uuid4

from kernel.database import Database, RowOwner, Transaction
from kernel.ids import uuid7_text
from services.router.domain.suppressions import (
    BOUNCE,
    COMPLAINT,
    ORIGINS,
    UNSUBSCRIBE,
    NewSuppression,
    Suppression,
)
from services.router.store import suppressions
from tests.support.stack import FreshDatabase, opened

ADDRESS = "ann@x.site-a.test"
WAITING = "SELECT 1 FROM pg_locks WHERE NOT granted AND pid <> %s"
IN_2090 = 3_786_912_000.0


def addition(
    origin: str, reason: str, expires_s: float = 0.0, of_list: str = "", note: str = ""
) -> NewSuppression:
    return NewSuppression(ADDRESS, origin, of_list, reason, note, expires_s, uuid7_text())


ADDITIONS = [
    addition("manual", "for ever"),
    addition("complaint", "until 2090", IN_2090),
    addition("complaint", "until later", IN_2090 + 1, note="angry"),
    addition("bounce", "of a list", IN_2090, "news"),
    addition("manual", "until after that", IN_2090 + 2, note="by phone"),
    addition("bounce", "for ever"),
    addition("bounce", "until 2090", IN_2090, note="gone"),
    addition("unsubscribe", "for ever", note="bored"),
]
ORDERS = [*permutations(ADDITIONS[:4]), *permutations(ADDITIONS, 3)]


def kept_of(same: Sequence[NewSuppression]) -> NewSuppression:
    """What is kept of additions with the same key, by the table of ADR 37."""
    strongest = max(same, key=lambda one: ORIGINS.index(one.origin))
    ends = [one.expires_s or inf for one in same if one.origin == strongest.origin]
    if any(one.origin in {BOUNCE, COMPLAINT} and not one.expires_s for one in same):
        ends = [inf]
    end = max(ends)
    return strongest._replace(id=same[0].id, expires_s=0.0 if end == inf else end)


def kept(given: Sequence[NewSuppression]) -> list[NewSuppression]:
    keys = sorted({(one.list, one.origin == UNSUBSCRIBE) for one in given})
    return [
        kept_of([one for one in given if (one.list, one.origin == UNSUBSCRIBE) == key])
        for key in keys
    ]


async def rows_of(
    tx: Transaction, batches: Sequence[Sequence[NewSuppression]]
) -> list[NewSuppression]:
    """What is there after these batches of a new tenant."""
    owner = RowOwner(str(uuid4()), None)
    found: dict[tuple[str, bool], Suppression] = {}
    for batch in batches:
        added = await suppressions.add(tx, owner, batch)
        assert len(added.suppressions) == len(batch)
        found |= {(one.list, one.origin == UNSUBSCRIBE): one for one in added.suppressions}
    return [
        NewSuppression(
            one.address, one.origin, one.list, one.reason, one.note, one.expires_s,
            one.suppression_id,
        )
        for _, one in sorted(found.items())
    ]  # fmt: skip


async def test_it_does_not_matter_how_additions_are_cut(database: FreshDatabase) -> None:
    async with opened(database.url) as router:
        for given in ORDERS:
            inner = range(1, len(given))
            cuts = [cut for count in range(len(given)) for cut in combinations(inner, count)]
            async with router.transaction() as tx:
                for cut in cuts:
                    batches = [given[a:b] for a, b in pairwise((0, *cut, len(given)))]
                    assert await rows_of(tx, batches) == kept(given), (given, cut)


async def test_what_becomes_a_complaint_meanwhile_is_not_removed(database: FreshDatabase) -> None:
    owner = RowOwner(str(uuid4()), None)

    async def remove(router: Database, *, force: bool) -> Sequence[Suppression]:
        async with router.transaction() as tx:
            return (await suppressions.remove(tx, owner, [ADDRESS], key=b"", force=force)).removed

    async with opened(database.url) as router, opened(database.url) as other:
        async with other.transaction() as tx:
            await suppressions.add(tx, owner, [addition("manual", "")])
        async with other.transaction() as tx:
            await suppressions.add(tx, owner, [addition("complaint", "")])
            removing = asyncio.create_task(remove(router, force=False))
            while not await tx.rows(WAITING, (tx.connection.info.backend_pid,)):
                await asyncio.sleep(0)
        assert await removing == []
        assert [one.origin for one in await remove(router, force=True)] == ["complaint"]
