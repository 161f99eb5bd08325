"""The key of the hashes of erased addresses. It is made once, and never changes: nothing else could
tell that an address is still suppressed."""

from hashlib import sha256

from kernel.crypto import SecretKeyring, new_content_key
from kernel.database import Database
from services.router.domain.suppressions import ADDRESS_HASH_BYTES

LOAD = "SELECT key FROM router.address_key"
CREATE = "INSERT INTO router.address_key (key) VALUES (%s) ON CONFLICT DO NOTHING"
# With the newest key of OBM_SECRET_KEYS, so that older ones can be removed.
REWRITE = "UPDATE router.address_key SET key = %s"


class AddressHashKey:
    def __init__(self, database: Database, secrets: SecretKeyring) -> None:
        self._database = database
        self._secrets = secrets
        self._key = b""

    async def load(self) -> bytes:
        """Raises Unavailable; ConfigError if OBM_SECRET_KEYS lacks the key that encrypted it."""
        if self._key:
            return self._key
        async with self._database.transaction() as tx:
            await tx.execute(CREATE, (self._secrets.encrypt(new_content_key()),))
            [(stored,)] = await tx.rows(LOAD)
            key = self._secrets.decrypt(bytes(stored))
            await tx.execute(REWRITE, (self._secrets.encrypt(key),))
        self._key = key
        return key


def erased_hash(key: bytes, address_hash: bytes) -> bytes:
    """What is kept of an erased address that is suppressed: a hash of its hash with a key. Both
    have a fixed length, so SHA-256 needs no HMAC (RFC 2104) around it, and PostgreSQL has it."""
    return sha256(key + address_hash).digest()[:ADDRESS_HASH_BYTES]
