"""Folds deltas into the roll-ups by hour and by day, in one transaction of the lease's owner.

A delta is counted by the time of its event and by that of the acceptance, in every cube. Its row is
deleted with that, so it is counted once.
"""

from kernel.database import Transaction
from services.events.domain.figures.definitions import (
    COUNTER_NAMES,
    CUBES,
    OTHER,
    VALUES_MAX,
    CubeId,
    TimeAxis,
    TimedSpan,
)
from services.events.store.figures import usage

# As text, because a list of so many numbers takes time to decode and to encode.
NEXT = """
SELECT count(*), coalesce(array_agg(id), '{}')::text
FROM (SELECT id FROM events.stats_deltas ORDER BY id LIMIT %s) AS next
"""
REMOVE = "DELETE FROM events.stats_deltas WHERE id = ANY(%s::bigint[])"

AXES = f"(VALUES ({int(TimeAxis.EVENT)}, delta.hour), ({int(TimeAxis.SENT)}, delta.cohort))"
SITE, TAG, DOMAIN = int(CubeId.SITE), int(CubeId.TAG), int(CubeId.RECIPIENT_DOMAIN)
# The values of a tenant and a day that have no row yet get one, while there are few enough.
ADMIT = f"""
INSERT INTO events.stats_values (tenant_id, dimension, day, value)
SELECT tenant_id, dimension, day, value FROM (
    SELECT new.*, row_number() OVER (PARTITION BY tenant_id, dimension, day ORDER BY value)
        + (SELECT count(*) FROM events.stats_values AS known WHERE known.tenant_id = new.tenant_id
            AND known.dimension = new.dimension AND known.day = new.day) AS place
    FROM (
        SELECT DISTINCT delta.tenant_id, found.dimension, axis.hour / 24 AS day, found.value
        FROM events.stats_deltas AS delta
        CROSS JOIN LATERAL {AXES} AS axis (id, hour)
        CROSS JOIN LATERAL (
            SELECT {SITE}::smallint, delta.site
            UNION ALL SELECT {DOMAIN}::smallint, delta.recipient_domain
            UNION ALL SELECT {TAG}::smallint, tag FROM unnest(delta.tags) AS tag
        ) AS found (dimension, value)
        WHERE delta.id = ANY(%(ids)s::bigint[]) AND found.value <> ''
    ) AS new
    WHERE NOT EXISTS (SELECT FROM events.stats_values AS known
        WHERE known.tenant_id = new.tenant_id AND known.dimension = new.dimension
            AND known.day = new.day AND known.value = new.value)
) AS ranked
WHERE place <= {VALUES_MAX}
ORDER BY tenant_id, dimension, day, value
"""  # noqa: S608 - our own names and numbers


def _admitted(value: str, dimension: int) -> str:
    """The value, or OTHER."""
    return (
        f"CASE WHEN {value} = '' OR EXISTS (SELECT FROM events.stats_values AS known"
        f" WHERE known.tenant_id = delta.tenant_id AND known.dimension = {dimension}"
        f" AND known.day = axis.hour / 24 AND known.value = {value})"
        f" THEN {value} ELSE '{OTHER}' END"
    )


# A delta in each cube, on one axis; a message without tags is in the cube of tags too.
CELLS = f"""
    SELECT delta.*, axis.id::smallint AS axis, axis.hour AS at, cell.cube, cell.dimensions
    FROM events.stats_deltas AS delta
    CROSS JOIN LATERAL {AXES} AS axis (id, hour)
    CROSS JOIN LATERAL (SELECT {_admitted("delta.site", SITE)} AS site) AS capped
    CROSS JOIN LATERAL (
        SELECT {int(CubeId.SENDER)}::smallint,
            ARRAY[delta.domain_id, delta.stream, delta.key_id]
        UNION ALL SELECT {SITE}::smallint, ARRAY[capped.site]
        UNION ALL SELECT {int(CubeId.IP)}::smallint, ARRAY[delta.egress_id, capped.site]
        UNION ALL SELECT {TAG}::smallint, ARRAY[{_admitted("tag", TAG)}]
            FROM unnest(CASE WHEN delta.tags = '{{}}' THEN '{{""}}' ELSE delta.tags END) AS tag
        UNION ALL SELECT {int(CubeId.BOUNCE_CLASS)}::smallint, ARRAY[delta.bounce_class]
        UNION ALL SELECT {DOMAIN}::smallint,
            ARRAY[{_admitted("delta.recipient_domain", DOMAIN)}]
    ) AS cell (cube, dimensions)
    WHERE delta.id = ANY(%(ids)s::bigint[])
"""  # noqa: S608 - our own names and numbers
HOURLY = ", ".join(str(int(cube.id)) for cube in CUBES if cube.hourly)
TIMED = ", ".join(str(int(cube.id)) for cube in CUBES if cube.timed)


def _fold_counters(span: str, at: str, cubes: str) -> str:
    names = ", ".join(COUNTER_NAMES)
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in COUNTER_NAMES)
    added = ", ".join(f"{name} = t.{name} + excluded.{name}" for name in COUNTER_NAMES)
    return f"""
INSERT INTO events.stats_{span} AS t (tenant_id, cube, axis, {span}, dimensions, {names})
SELECT tenant_id, cube, axis, {at}, dimensions, {sums} FROM ({CELLS}) AS cells
WHERE cube IN ({cubes})
GROUP BY tenant_id, cube, axis, {at}, dimensions ORDER BY 1, 2, 3, 4, 5
ON CONFLICT (tenant_id, cube, axis, {span}, dimensions) DO UPDATE SET {added}
"""  # noqa: S608 - our own names and numbers


def _fold_times(span: str, at: str) -> str:
    timings = " UNION ALL ".join(
        f"SELECT {int(timing)}::smallint, unnest(cells.{timing.name.lower()})"
        for timing in TimedSpan
    )
    return f"""
INSERT INTO events.stats_{span}_times AS rolled
    (tenant_id, cube, axis, {span}, dimensions, timing, bucket, messages)
SELECT tenant_id, cube, axis, {at}, dimensions, timing, abs(signed) - 1, sum(sign(signed))
FROM ({CELLS}) AS cells CROSS JOIN LATERAL ({timings}) AS taken (timing, signed)
WHERE cube IN ({TIMED})
GROUP BY tenant_id, cube, axis, {at}, dimensions, timing, abs(signed) - 1
ORDER BY 1, 2, 3, 4, 5, 6, 7
ON CONFLICT (tenant_id, cube, axis, {span}, dimensions, timing, bucket)
    DO UPDATE SET messages = rolled.messages + excluded.messages
"""  # noqa: S608 - our own names and numbers


ALL = ", ".join(str(int(cube.id)) for cube in CUBES)
# psycopg parses a statement each time if it is longer than 4,096 characters.
FOLDS = tuple(
    " ".join(statement.split())
    for statement in (
        ADMIT,
        _fold_counters("hour", "at", HOURLY),
        _fold_counters("day", "at / 24", ALL),
        _fold_times("hour", "at"),
        _fold_times("day", "at / 24"),
        usage.ADD,
    )
)
EXPIRED = (
    "DELETE FROM events.stats_{table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM events.stats_{table}"
    " WHERE {span} < %s ORDER BY {span} LIMIT %s))"
)


async def fold_deltas(tx: Transaction, limit: int) -> int:
    """Fold the next deltas; returns how many."""
    [(count, ids)] = await tx.rows(NEXT, (limit,))
    if count:
        for statement in FOLDS:
            await tx.execute(statement, {"ids": ids})
        await tx.execute(REMOVE, (ids,))
    return int(count)


async def delete_expired(tx: Transaction, table: str, *, span: str, before: int, limit: int) -> int:
    """Delete rows of hours or days before this one; returns how many."""
    return await tx.execute(EXPIRED.format(table=table, span=span), (before, limit))
