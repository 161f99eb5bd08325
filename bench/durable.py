"""Figures without durability are no figures: the bench refuses a database that does not sync."""

from collections.abc import Sequence

import psycopg

MUST_NOT_BE_OFF = ("fsync", "synchronous_commit", "full_page_writes")


class NotDurable(RuntimeError):
    """A setting that would let an accepted message be lost when the power goes."""


def require_durable(urls: Sequence[str]) -> None:
    """Look at what each of these connections would run with; raises NotDurable."""
    for url in urls:
        with psycopg.connect(url, autocommit=True) as connection:
            user = connection.info.user
            for name in MUST_NOT_BE_OFF:
                row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
                refuse_if_off(name, user, value=row[0] if row else "off")


def refuse_if_off(name: str, user: str, *, value: str) -> None:
    if value == "off":
        raise NotDurable(
            f"{name} is off for {user}: the bench measures durable sends only. "
            f"Set {name} = on in PostgreSQL and run again"
        )
