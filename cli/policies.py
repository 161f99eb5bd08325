"""Reads what limits mail, and gives commands about it to the scheduler of the router."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from cli.directory import open_directory
from cli.environment import load_settings
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1.directory_pb2 import EgressSource
from contracts.router.v1.policies_pb2 import (
    OverrideSet,
    PolicyCommand,
    StandingChanged,
    WarmupCommand,
)
from contracts.router.v1.policy_service_pb2 import Source, Warmup
from kernel.database import Database
from kernel.errors import ConfigError
from services.router.api.policies import PolicyTables
from services.router.app.rules import read_adaptation_rules
from services.router.settings import Settings
from services.router.store import directory


@dataclass(frozen=True, slots=True)
class PolicyAdmin:
    database: Database
    tables: PolicyTables
    default_ramp: str

    async def warmups(self) -> list[Warmup]:
        async with self.database.transaction() as tx:
            return await self.tables.warmups(tx)

    async def overrides(self) -> list[OverrideSet]:
        async with self.database.transaction() as tx:
            return await self.tables.overrides(tx)

    async def standings(self) -> list[StandingChanged]:
        async with self.database.transaction() as tx:
            return await self.tables.standings(tx)

    async def described_sources(self) -> list[Source]:
        async with self.database.transaction() as tx:
            return await self.tables.sources(tx)

    async def sources(self) -> dict[str, EgressSource]:
        async with self.database.transaction() as tx:
            return {
                one.egress_id: one
                for one in await directory.load_all_sources(tx)
                if not one.deleted
            }

    async def change_warmup(
        self, source: str, action: str, *, ramp: str = "", stage: int = 0
    ) -> None:
        """source: id or address."""
        egress_id = find_source(await self.sources(), source)
        command = WarmupCommand(
            egress_id=egress_id, action=action, ramp=ramp or self.default_ramp, stage=stage
        )
        await self.execute(PolicyCommand(warmup=command))

    async def execute(self, command: PolicyCommand) -> None:
        """Raises ConfigError if the command does not apply."""
        try:
            async with self.database.transaction() as tx:
                await self.tables.execute(tx, command)
        except ValueError as error:
            text = str(error)
            raise ConfigError(text[0].upper() + text[1:]) from error


@asynccontextmanager
async def open_policies() -> AsyncIterator[PolicyAdmin]:
    """Open the tables of the installation. Raises ConfigError."""
    settings = load_settings(Settings)
    tables = PolicyTables(read_adaptation_rules(settings))
    database = Database(settings.system_database_url, connections_max=1, name="obm")
    try:
        yield PolicyAdmin(database, tables, settings.warmup_ramp)
    finally:
        await database.close()


async def read_tenants() -> list[Tenant]:
    async with open_directory() as directory_store:
        return await directory_store.list_all(Tenant)


def find_source(sources: dict[str, EgressSource], name: str) -> str:
    """The id of a source, by id or address. Raises ConfigError."""
    for one in sources.values():
        if name in (one.egress_id, one.source_ip, one.source_ipv6) and name:
            return one.egress_id
    raise ConfigError(f"There is no egress source {name}. See `obm egress list`.")


def find_tenant(tenants: Sequence[Tenant], name: str) -> str:
    """The id of a tenant, by id or name. Raises ConfigError."""
    found = [one.tenant_id for one in tenants if name in (one.tenant_id, one.name)]
    if len(found) != 1:
        raise ConfigError(f"There is no single tenant {name}. See `obm tenant list`.")
    return found[0]


async def read_sources() -> list[Source]:
    """The egress sources with their state. Raises ConfigError."""
    async with open_policies() as policies:
        return await policies.described_sources()


def utc_time(moment: Timestamp) -> str:
    """UTC, to the minute."""
    return moment.ToDatetime().isoformat(" ", "minutes")
