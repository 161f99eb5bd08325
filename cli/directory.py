"""The directory at the database: for the first operator key, and to read the names of tenants."""

import getpass
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network

from google.protobuf.timestamp_pb2 import Timestamp

from cli.environment import load_settings
from contracts.ingest.v1.directory_pb2 import ApiKeyKind
from kernel import auth
from kernel.brand import read_brands
from kernel.database import Database
from kernel.errors import ConfigError
from services.ingest.api.administration.api_keys import new_key
from services.ingest.settings import Settings
from services.ingest.store.audit_log import AuditActor
from services.ingest.store.directory import DirectoryStore


@asynccontextmanager
async def open_directory(settings: Settings | None = None) -> AsyncIterator[DirectoryStore]:
    """settings: of ingest; by default those of the installation. Raises ConfigError."""
    settings = settings or load_settings(Settings)
    database = Database(settings.system_database_url, connections_max=1, name="obm")
    try:
        yield DirectoryStore(database, actor=user())
    finally:
        await database.close()


def user() -> AuditActor:
    """The user of a command, for the audit log."""
    try:
        return AuditActor("command", getpass.getuser())
    except (KeyError, OSError):  # without an entry in the password database
        return AuditActor("command", str(os.getuid()))


async def create_operator_key(
    name: str,
    *,
    cidrs: Sequence[str] = (),
    expires_at: Timestamp | None = None,
    settings: Settings | None = None,
) -> str:
    """The secret key, which is not stored. Raises ConfigError."""
    settings = settings or load_settings(Settings)
    brand = read_brands(settings.brands_file).default
    secret, key = new_key(
        test=False, brand=brand.slug, name=name, kind=ApiKeyKind.API_KEY_KIND_OPERATOR,
        scopes=[auth.FULL_ACCESS], cidrs=networks(cidrs), expires_at=expires_at,
    )  # fmt: skip
    async with open_directory(settings) as directory:
        await directory.save(key)
    return secret


def networks(cidrs: Sequence[str]) -> list[str]:
    """Raises ConfigError."""
    try:
        return [str(ip_network(cidr, strict=False)) for cidr in cidrs]
    except ValueError as error:
        raise ConfigError(f"Invalid --cidr: {error}.") from error
