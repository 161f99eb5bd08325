"""`obm re-encrypt`: the last step before an old key of OBM_SECRET_KEYS is removed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from cli.environment import load_settings
from cli.printing import console
from kernel.crypto import SecretKeyring
from kernel.database import Database
from kernel.errors import ConfigError
from kernel.reencryption import Reencrypted
from kernel.settings import Settings
from services.events.settings import Settings as EventsSettings
from services.events.store.reencryption import reencrypt_secrets as of_events
from services.ingest.settings import Settings as IngestSettings
from services.ingest.store.reencryption import reencrypt_secrets as of_ingest

Reencrypt = Callable[[Database, SecretKeyring], Awaitable[Reencrypted]]
SERVICES: dict[str, tuple[type[Settings], Reencrypt]] = {
    "ingest": (IngestSettings, of_ingest),
    "events": (EventsSettings, of_events),
}


def re_encrypt(
    service: Annotated[
        str, typer.Argument(help="Only the secrets of this service: ingest or events")
    ] = "",
) -> None:
    """Encrypt stored secrets with the first key of OBM_SECRET_KEYS.

    The keys of tenants, domains, webhooks, certificates and exports. Run it when all processes have
    the new key first. router does it for its own by itself. Old keys also verify links and return
    paths that were signed with them: remove one when these are no longer needed.
    """
    if service and service not in SERVICES:
        raise ConfigError(f"{service!r} has no such secrets. Name one of {', '.join(SERVICES)}.")
    for name in [service] if service else SERVICES:
        found = asyncio.run(reencrypted(*SERVICES[name]))
        console.print(f"{name}: {found.changed} of {found.total} secrets were under an old key")


async def reencrypted(kind: type[Settings], reencrypt: Reencrypt) -> Reencrypted:
    settings = load_settings(kind)
    url = settings.system_database_url  # type: ignore[attr-defined]  # both have one
    database = Database(url, connections_max=1, name="obm")
    try:
        return await reencrypt(database, SecretKeyring(settings.secret_keys))
    finally:
        await database.close()
