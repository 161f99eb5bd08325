"""Encrypts what is stored under old keys of OBM_SECRET_KEYS with the first one, so that the old
ones can be removed."""

from typing import NamedTuple
from uuid import UUID

from kernel.crypto import SecretKeyring
from kernel.database import Database

PAGE = 500


class SecretColumn(NamedTuple):
    """A column of secrets, which may be NULL or empty. key: the primary key of its table. before:
    what sorts before all of its values."""

    table: str
    column: str
    key: str = "id"
    before: UUID | str = UUID(int=0)


class Reencrypted(NamedTuple):
    """How many secrets there are, and how many of them were under an old key."""

    total: int = 0
    changed: int = 0

    def __add__(self, other: object) -> "Reencrypted":
        if not isinstance(other, Reencrypted):
            return NotImplemented
        return Reencrypted(self.total + other.total, self.changed + other.changed)


async def reencrypt_column(
    database: Database, secrets: SecretKeyring, where: SecretColumn
) -> Reencrypted:
    """A page at a time; what others write meanwhile is under the first key already. Raises
    ConfigError if a secret is under none of the keys."""
    table, column, key, after = where
    page = (
        f"SELECT {key}, {column} FROM {table}"  # noqa: S608 - our own words
        f" WHERE {key} > %s AND octet_length({column}) > 0 ORDER BY {key} LIMIT {PAGE}"
    )
    update = f"UPDATE {table} SET {column} = %s WHERE {key} = %s AND {column} = %s"  # noqa: S608
    found = Reencrypted()
    while True:
        async with database.transaction() as tx:
            rows = await tx.rows(page, (after,))
            for row_key, token in rows:
                new = secrets.reencrypt(bytes(token))
                if new != token:
                    found += Reencrypted(0, await tx.execute(update, (new, row_key, bytes(token))))
        if not rows:
            return found
        found += Reencrypted(len(rows))
        after = rows[-1][0]
