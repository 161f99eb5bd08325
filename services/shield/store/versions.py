"""Versions of what was learned, and which of them are in use."""

from collections.abc import Sequence
from typing import NamedTuple

from contracts.shield.v1.learning_pb2 import ModelPublished, ModelVersionChanged
from contracts.shield.v1.shield_service_pb2 import LearnedVersionInfo
from kernel.database import Row, Transaction
from services.shield.domain.outcomes import PackedVersion

TABLES_KEPT, VERSIONS_KEPT = 5, 1_000
LIVE, SHADOW, PAST = "live", "shadow", "past"  # roles of a version

SAVE_VERSION = """
INSERT INTO shield.learned_versions (number, version, published, tables) VALUES (%s, %s, %s, %s)
ON CONFLICT (number) DO NOTHING
"""
# A repeat that is older than what is known changes nothing.
SAVE_ROLLOUT = """
INSERT INTO shield.rollout AS stored (next_offset, live, shadow) VALUES (%s, %s, %s)
ON CONFLICT (single) DO UPDATE SET next_offset = excluded.next_offset, live = excluded.live,
    shadow = excluded.shadow
WHERE stored.next_offset <= excluded.next_offset
"""
SAVE_CHANGE = """
UPDATE shield.learned_versions SET changed = %(changed)s, changed_number = %(number)s
WHERE version = %(version)s AND changed_number <= %(number)s
"""
# Of old versions the history stays.
DROP_OLD_TABLES = """
UPDATE shield.learned_versions SET tables = NULL
WHERE tables IS NOT NULL AND version <> ALL(%s) AND number < (
    SELECT min(number) FROM (
        SELECT number FROM shield.learned_versions ORDER BY number DESC LIMIT %s) AS newest)
"""
DELETE_OLD_VERSIONS = """
DELETE FROM shield.learned_versions WHERE tables IS NULL AND number < (
    SELECT min(number) FROM (
        SELECT number FROM shield.learned_versions ORDER BY number DESC LIMIT %s) AS newest)
"""
LOAD_IN_USE = """
SELECT live, shadow,
    coalesce((SELECT tables FROM shield.learned_versions WHERE version = live
        ORDER BY number DESC LIMIT 1), ''),
    coalesce((SELECT tables FROM shield.learned_versions WHERE version = shadow
        ORDER BY number DESC LIMIT 1), '')
FROM shield.rollout WHERE (live, shadow) <> (%(live)s, %(shadow)s)
"""
VERSIONS = f"""
SELECT published, coalesce(changed, ''), CASE version
    WHEN (SELECT live FROM shield.rollout) THEN '{LIVE}'
    WHEN (SELECT shadow FROM shield.rollout) THEN '{SHADOW}' ELSE '{PAST}' END
FROM shield.learned_versions
"""  # noqa: S608 - constants only


class RolloutVersions(NamedTuple):
    """Versions; empty: none."""

    live: str = ""
    shadow: str = ""


class PackedDeltas(NamedTuple):
    """Packed; empty: of none."""

    live: bytes
    shadow: bytes


async def save_version(tx: Transaction, tables: PackedVersion, *, usable: Sequence[str]) -> None:
    """A repeat changes nothing. usable: versions whose tables are kept, besides the newest."""
    published = tables.published
    values = published.offset, published.version, published.SerializeToString(), tables.packed
    await tx.execute(SAVE_VERSION, values)
    await tx.execute(DROP_OLD_TABLES, (list(usable), TABLES_KEPT))
    await tx.execute(DELETE_OLD_VERSIONS, (VERSIONS_KEPT,))


async def save_change(tx: Transaction, changed: ModelVersionChanged) -> None:
    values = {
        "version": changed.version,
        "number": changed.offset,
        "changed": changed.SerializeToString(),
    }
    await tx.execute(SAVE_CHANGE, values)


async def save_rollout(tx: Transaction, in_use: RolloutVersions, *, next_offset: int) -> None:
    """next_offset: of the first outcome that has not decided yet."""
    await tx.execute(SAVE_ROLLOUT, (next_offset, *in_use))


async def load_in_use(
    tx: Transaction, *, known: RolloutVersions
) -> tuple[RolloutVersions, PackedDeltas] | None:
    """Which versions are in use, with their tables; None if those are the known ones, or if there
    is none yet."""
    rows = await tx.rows(LOAD_IN_USE, known._asdict(), binary=True)
    if not rows:
        return None
    live, shadow, *tables = rows[0]
    return RolloutVersions(live, shadow), PackedDeltas(*map(bytes, tables))


async def list_versions(tx: Transaction) -> list[LearnedVersionInfo]:
    """Newest first."""
    rows = await tx.rows(f"{VERSIONS} ORDER BY number DESC LIMIT %s", (VERSIONS_KEPT,), binary=True)
    return list(map(version_of, rows))


async def find_version(tx: Transaction, version: str) -> LearnedVersionInfo | None:
    rows = await tx.rows(
        f"{VERSIONS} WHERE version = %s ORDER BY number DESC LIMIT 1", (version,), binary=True
    )
    return version_of(rows[0]) if rows else None


def version_of(row: Row) -> LearnedVersionInfo:
    published, changed, role = row
    return LearnedVersionInfo(
        published=ModelPublished.FromString(published),
        role=role,
        changed=ModelVersionChanged.FromString(changed) if changed else None,
    )
