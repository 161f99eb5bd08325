"""The secrets of events: those of webhooks, of certificates, and the keys of exports."""

from kernel.crypto import SecretKeyring
from kernel.database import Database
from kernel.reencryption import Reencrypted, SecretColumn, reencrypt_column

COLUMNS = (
    SecretColumn("events.webhooks", "secret"),
    SecretColumn("events.webhooks", "previous_secret"),
    SecretColumn("events.webhooks", "headers"),
    SecretColumn("events.certificates", "private_key", "host", ""),
    SecretColumn("events.exports", "key"),
)


async def reencrypt_secrets(database: Database, secrets: SecretKeyring) -> Reencrypted:
    """Raises ConfigError if a secret is under none of the keys."""
    found = Reencrypted()
    for column in COLUMNS:
        found += await reencrypt_column(database, secrets, column)
    return found
