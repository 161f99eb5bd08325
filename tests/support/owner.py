"""Connections of the owner of a database that are kept: a new one costs ten milliseconds of CPU,
and tests poll."""

import select
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import psycopg

Connection: TypeAlias = psycopg.Connection[tuple[object, ...]]

_idle: defaultdict[str, list[Connection]] = defaultdict(list)  # by URL


@contextmanager
def owner_connection(url: str) -> Iterator[Connection]:
    """A connection like a new one, with autocommit; nobody else uses it within the block."""
    connection = _kept(url) or psycopg.connect(url, autocommit=True, prepare_threshold=None)
    try:
        yield connection
        connection.commit()
        connection.autocommit = True
        connection.execute("DISCARD ALL")  # also locks of the session
    except BaseException:
        connection.close()
        raise
    _idle[url].append(connection)


def _kept(url: str) -> Connection | None:
    """One whose server has not closed it meanwhile."""
    while _idle[url]:
        connection = _idle[url].pop()
        if not select.select([connection.fileno()], [], [], 0)[0]:
            return connection
        connection.close()
    return None


def close_kept(*urls: str) -> None:
    """Close those to a database, or all."""
    for url in urls or [*_idle]:
        for connection in _idle.pop(url, ()):
            connection.close()
