"""Refuse databases without durable commits: their figures would not be comparable."""

from collections.abc import Sequence

import psycopg

MUST_NOT_BE_OFF = ("fsync", "synchronous_commit", "full_page_writes")


class NotDurable(RuntimeError):
    """A setting allows accepted messages to be lost in a power failure."""


def require_durable(urls: Sequence[str]) -> None:
    """Check the settings in effect on each of these connections. Raises NotDurable."""
    for url in urls:
        with psycopg.connect(url, autocommit=True) as connection:
            user = connection.info.user
            for name in MUST_NOT_BE_OFF:
                row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
                refuse_if_off(name, user, value=row[0] if row else "off")


def refuse_if_off(name: str, user: str, *, value: str) -> None:
    if value == "off":
        raise NotDurable(
            f"{name} is off for {user}, but the bench measures durable sends only. "
            f"Set {name} = on in PostgreSQL and run again."
        )
