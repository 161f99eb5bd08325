"""Egress sources of a router that does not serve RPCs: what operators do by the API."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from contracts.router.v1.directory_pb2 import EgressSource
from kernel.database import Database
from kernel.outbox import Outbox
from services.router.api.egress import SourceAdmin
from services.router.api.pools import PoolAdmin
from services.router.app.rules import read_adaptation_rules
from services.router.settings import Settings
from services.router.store import directory
from tests.support.accounts import keys_of_callers
from tests.support.directory import leave_to_sweep
from tests.support.engine import Engine

UNUSED = "192.0.2.200"


@dataclass(frozen=True, slots=True)
class Sources:
    database: Database
    admin: SourceAdmin
    pools: PoolAdmin

    async def add(
        self, addresses: Sequence[str], *, pool: str = "default", ehlo: str = "", ramp: str = "",
        host: str = "",
    ) -> EgressSource:  # fmt: skip
        async with self.database.transaction() as tx:
            return await self.admin.add(
                tx, addresses, pool=pool, ehlo=ehlo, ramp=ramp, egress_host=host
            )

    async def pause(self, egress_id: str) -> None:
        async with self.database.transaction() as tx:
            await self.admin.change(tx, egress_id, paused=True)

    async def remove_all(self) -> None:
        async with self.database.transaction() as tx:
            for one in await directory.load_all_sources(tx):
                if not one.deleted:
                    await self.admin.remove(tx, one.egress_id)


def add_unused_source(engine: Engine) -> str:
    """The id of an egress source of a pool that no tenant uses, made once in each engine."""
    key = keys_of_callers(engine.environment)["accounts"]
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=engine.url, headers=headers, timeout=120) as operator:
        if made := operator.get("/ips", params={"address": UNUSED}).json()["data"]:
            return str(made[0]["id"])
        pool = operator.post("/pools", json={"name": "of nobody"}).json()["id"]
        source = {"addresses": [UNUSED], "pool_id": pool}
        return str(operator.post("/ips", json=source).json()["id"])


@asynccontextmanager
async def open_sources(settings: Settings) -> AsyncIterator[Sources]:
    database = Database(settings.system_database_url, connections_max=1, name="test")
    outbox = Outbox(database, "router", leave_to_sweep, sweep_after_s=0)
    ramps = read_adaptation_rules(settings).ramps
    try:
        yield Sources(database, SourceAdmin(outbox, ramps), PoolAdmin(database, outbox, ramps))
    finally:
        await database.close()
