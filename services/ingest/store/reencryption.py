"""The secrets of ingest: those of the directory, and what is kept until a task has ended."""

from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message

from contracts.ingest.v1.directory_pb2 import Domain, Tenant
from kernel.crypto import SecretKeyring
from kernel.database import Database
from kernel.reencryption import Reencrypted, SecretColumn, reencrypt_column
from services.ingest.store.directory import DirectoryStore, read_entries

COLUMNS = (
    SecretColumn("ingest.suppression_imports", "key"),
    SecretColumn("ingest.erasures", "address"),
)
FIELDS = frozenset(("content_key", "rsa_private_key", "ed25519_private_key"))
E = TypeVar("E", Tenant, Domain)
PAGE = 100  # entries; meanwhile nobody else changes the directory


async def reencrypt_secrets(database: Database, secrets: SecretKeyring) -> Reencrypted:
    """Changed entries of the directory are published as after any change. Raises ConfigError if a
    secret is under none of the keys."""
    directory = DirectoryStore(database)
    found = await _reencrypt_entries(directory, secrets, Tenant)
    found += await _reencrypt_entries(directory, secrets, Domain)
    for column in COLUMNS:
        found += await reencrypt_column(database, secrets, column)
    return found


async def _reencrypt_entries(
    directory: DirectoryStore, secrets: SecretKeyring, kind: type[E]
) -> Reencrypted:
    found, after = Reencrypted(), str(UUID(int=0))
    while True:
        async with directory.changing(None) as change:
            where = f"id > %s ORDER BY id LIMIT {PAGE}"
            entries = await read_entries(change.tx, kind, where, params=(after,))
            for entry in entries:
                own = reencrypt_fields(entry, secrets)
                found += own
                if own.changed:
                    await change.save(entry)
        if not entries:
            return found
        last = entries[-1]
        after = last.tenant_id if isinstance(last, Tenant) else last.domain_id


def reencrypt_fields(message: Message, secrets: SecretKeyring) -> Reencrypted:
    """Change the secrets in a message, and in the messages that it has."""
    found = Reencrypted()
    for field, value in message.ListFields():
        if isinstance(value, Message):
            found += reencrypt_fields(value, secrets)
        elif field.name in FIELDS:
            new = secrets.reencrypt(value)
            found += Reencrypted(1, int(new != value))
            setattr(message, field.name, new)
    return found
