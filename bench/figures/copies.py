"""Copies of the messages of thirty days, each set of them a day later than the one before.

To record ten million messages takes an hour or two. So the first million goes through the handler,
and the others are copies of it, in tables that get their indexes at the end. The last day wraps to
the first. Roll-ups are copied in the same way. Payloads are those of the original.
"""

from datetime import date, timedelta

import psycopg
from psycopg import sql

from bench.figures.lives import DAYS
from bench.printing import ReportProgress
from kernel.days import EPOCH

TABLES = ("log", "state", "emails", "tags")
IDS = ("subject_id", "position", "email_id", "message_id")  # with a time
SESSION = "SET maintenance_work_mem = '512MB'; SET work_mem = '128MB'; SET jit = off"
# A UUIDv7 that is a number of days later; two copies never have the same.
LATER = """
CREATE FUNCTION pg_temp.later(id uuid, days int, copy int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
SELECT encode(substr(int8send(('x' || substr(id::text, 1, 8) || substr(id::text, 10, 4))::bit(48)
    ::bigint + days * 86400000::bigint), 3) || substr(uuid_send(id), 7, 9)
    || set_byte('\\x00', 0, copy), 'hex')::uuid $$
"""
ROLL_UPS = ("hour", "hour_times", "day", "day_times")


def copy_messages(url: str, copies: int, *, today: date, report: ReportProgress) -> None:
    """url: of the owner of the tables."""
    days = [today - timedelta(days=n) for n in range(DAYS)][::-1]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SESSION)
        connection.execute(LATER)
        for table in TABLES:
            for day in days:
                _detach(connection, table, day)
        for n in range(len(days)):
            report("days copied", n, len(days))
            for table in TABLES:
                with connection.transaction():
                    _fill(connection, table, days=days, n=n, copies=copies)
        for table in TABLES:
            for day in days:
                connection.execute(_sql("DROP TABLE events.{}", _name(table, day, "original")))
        for table in ROLL_UPS:
            _copy_roll_up(connection, table, first=(days[0] - EPOCH).days, copies=copies)
        connection.execute("VACUUM ANALYZE")


def _name(table: str, day: date, suffix: str = "") -> str:
    return f"{table}_{day:%Y%m%d}" + (f"_{suffix}" if suffix else "")


def _sql(text: str, *names: str) -> sql.Composed:
    return sql.SQL(text).format(*(sql.Identifier(one) for one in names))


def _columns(connection: psycopg.Connection, table: str) -> list[str]:
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        " AND NOT attisdropped ORDER BY attnum",
        (table,),
    )
    return [name for (name,) in rows]


def _detach(connection: psycopg.Connection, table: str, day: date) -> None:
    name = _name(table, day)
    connection.execute("SELECT events.ensure_day_partition(%s, %s)", (table, day))
    connection.execute(_sql("ALTER TABLE events.{} DETACH PARTITION events.{}", table, name))
    original = _name(table, day, "original")
    connection.execute(_sql("ALTER TABLE events.{} RENAME TO {}", name, original))


def _fill(
    connection: psycopg.Connection, table: str, *, days: list[date], n: int, copies: int
) -> None:
    name = _name(table, days[n])
    connection.execute(
        _sql("CREATE TABLE events.{} (LIKE events.{} INCLUDING ALL EXCLUDING INDEXES)", name, table)
    )
    columns = _columns(connection, f"events.{table}")
    for copy in range(copies + 1):
        source = (n - copy) % DAYS
        values = sql.SQL(", ").join(
            sql.SQL("pg_temp.later({}, {}, {})").format(
                sql.Identifier(one), sql.Literal(n - source), sql.Literal(copy)
            )
            if one in IDS and copy
            else sql.Identifier(one)
            for one in columns
        )
        connection.execute(
            sql.SQL("INSERT INTO events.{} ({}) SELECT {} FROM events.{}").format(
                sql.Identifier(name),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                values,
                sql.Identifier(_name(table, days[source], "original")),
            )
        )
    bounds = "SELECT events.day_bound(%s), events.day_bound(%s)"
    [(low, high)] = connection.execute(bounds, (days[n], days[n] + timedelta(days=1))).fetchall()
    attach = "ALTER TABLE events.{} ATTACH PARTITION events.{} FOR VALUES FROM ({}) TO ({})"
    connection.execute(
        sql.SQL(attach).format(
            sql.Identifier(table), sql.Identifier(name), sql.Literal(low), sql.Literal(high)
        )
    )


def _copy_roll_up(connection: psycopg.Connection, table: str, *, first: int, copies: int) -> None:
    span, length = ("hour", 24) if table.startswith("hour") else ("day", 1)
    columns = _columns(connection, f"events.stats_{table}")
    key = ["tenant_id", "cube", "axis", span, "dimensions"]
    key += ["timing", "bucket"] if table.endswith("times") else []
    sums = [one for one in columns if one not in key]
    later = f"{first * length} + ({span} - {first * length} + n * {length}) % {DAYS * length}"
    name = f"events.stats_{table}"
    connection.execute(f"CREATE TEMP TABLE originals AS SELECT * FROM {name}")
    connection.execute(f"TRUNCATE {name}")
    connection.execute(
        f"INSERT INTO {name} ({', '.join(key + sums)})"
        f" SELECT {', '.join(later if one == span else one for one in key)},"
        f" {', '.join(f'sum({one})' for one in sums)}"
        f" FROM originals, generate_series(0, {copies}) AS n"
        f" GROUP BY {', '.join(str(n + 1) for n in range(len(key)))}"
    )
    connection.execute("DROP TABLE originals")
