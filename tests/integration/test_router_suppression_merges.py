"""Additions of the same address, and changes of a suppression while it is removed, on real
PostgreSQL."""

import asyncio
from collections.abc import Sequence
from itertools import combinations, pairwise, permutations
from uuid import uuid4

from kernel.database import Database, RowOwner
from kernel.ids import uuid7_text
from services.router.domain.suppressions import NewSuppression, Suppression
from services.router.store import suppressions
from tests.support.stack import FreshDatabase, opened

ADDRESS = "ann@x.site-a.test"
WAITING = "SELECT 1 FROM pg_locks WHERE NOT granted AND pid <> %s"
IN_2090 = 3_786_912_000.0


def addition(origin: str, reason: str, expires_s: float = 0.0, of_list: str = "") -> NewSuppression:
    return NewSuppression(ADDRESS, origin, of_list, reason, "", expires_s, uuid7_text())


ADDITIONS = [
    addition("manual", "for ever"),
    addition("complaint", "until 2090", IN_2090),
    addition("complaint", "until later", IN_2090 + 1),
    addition("bounce", "of a list", IN_2090, "news"),
]


async def rows_of(
    router: Database, batches: Sequence[Sequence[NewSuppression]]
) -> list[Suppression]:
    """What is there after these batches of a new tenant."""
    owner = RowOwner(str(uuid4()), None)
    found: dict[str, Suppression] = {}
    for batch in batches:
        async with router.transaction() as tx:
            added = await suppressions.add(tx, owner, batch)
        found |= {one.list: one._replace(owner_id="") for one in added.suppressions}
    return [found[of_list] for of_list in sorted(found)]


async def test_it_does_not_matter_how_additions_are_cut(database: FreshDatabase) -> None:
    inner = range(1, len(ADDITIONS))
    cuts = [cut for count in range(len(ADDITIONS)) for cut in combinations(inner, count)]
    async with opened(database.url) as router:
        for given in permutations(ADDITIONS):
            alone = await rows_of(router, [[one] for one in given])
            assert [one.expires_s for one in alone] == [0.0, IN_2090]
            for cut in cuts:
                batches = [given[a:b] for a, b in pairwise((0, *cut, len(given)))]
                assert await rows_of(router, batches) == alone, (given, cut)


async def test_what_becomes_a_complaint_meanwhile_is_not_removed(database: FreshDatabase) -> None:
    owner = RowOwner(str(uuid4()), None)

    async def remove(router: Database, *, force: bool) -> Sequence[Suppression]:
        async with router.transaction() as tx:
            return (await suppressions.remove(tx, owner, [ADDRESS], force=force)).removed

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
