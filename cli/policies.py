"""Reads what limits mail, and gives commands about it to the scheduler of the router."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from cli.directory import open_directory
from cli.environment import load_settings
from contracts.ingest.v1.directory_pb2 import Mailbox, Tenant
from contracts.router.v1.directory_pb2 import EgressSource
from contracts.router.v1.policies_pb2 import (
    OverrideSet,
    PolicyCommand,
    StandingChanged,
    WarmupCommand,
)
from contracts.router.v1.policy_service_pb2 import LimitUsage, Source, Warmup
from kernel.database import Database, Transaction
from kernel.errors import ConfigError
from services.router.api.policies import PolicyTables
from services.router.app.rules import read_adaptation_rules, read_shaping
from services.router.domain.policies import MailboxPolicies, TenantDirectory, configured_policies
from services.router.settings import Settings
from services.router.store import directory


@dataclass(frozen=True, slots=True)
class TenantRecords:
    """The tenants of the directory, by id."""

    records: dict[str, Tenant]

    def get(self, entry_id: str) -> Tenant | None:
        return self.records.get(entry_id)

    def was_deleted(self, entry_id: str) -> bool:
        return entry_id not in self.records


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

    async def limits(self) -> list[LimitUsage]:
        async with self.database.transaction() as tx:
            return await self.tables.limits(tx)

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
        async with self.database.transaction() as tx:
            await self.execute_in(tx, command)

    async def execute_in(self, tx: Transaction, command: PolicyCommand) -> None:
        try:
            await self.tables.execute(tx, command)
        except ValueError as error:
            text = str(error)
            raise ConfigError(text[0].upper() + text[1:]) from error


@asynccontextmanager
async def open_policies(*, with_tenants: bool = False) -> AsyncIterator[PolicyAdmin]:
    """Open the tables of the installation. Raises ConfigError."""
    settings = load_settings(Settings)
    tenants = await read_tenants() if with_tenants else []
    table = TenantDirectory(TenantRecords({one.tenant_id: one for one in tenants}))
    mailboxes = MailboxPolicies(await read_mailboxes() if with_tenants else {})
    tables = PolicyTables(
        read_adaptation_rules(settings),
        configured_policies(table, read_shaping(settings), mailboxes),
        table.pool_of,
    )
    database = Database(settings.system_database_url, connections_max=1, name="obm")
    try:
        yield PolicyAdmin(database, tables, settings.warmup_ramp)
    finally:
        await database.close()


async def read_mailboxes() -> dict[str, Mailbox]:
    """All mailboxes, by id."""
    async with open_directory() as admin:
        return {one.mailbox_id: one for one in await admin.list_all(Mailbox)}


async def read_tenants() -> list[Tenant]:
    async with open_directory() as directory_store:
        return await directory_store.list_all(Tenant)


def find_mailbox(mailboxes: Mapping[str, Mailbox], name: str) -> str:
    """The id of a mailbox, by id or address. Raises ConfigError."""
    found = [key for key, one in mailboxes.items() if name in (key, one.address)]
    if len(found) != 1:
        raise ConfigError(f"There is no single mailbox {name}. See `obm mailbox list`.")
    return found[0]


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
