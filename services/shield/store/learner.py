"""What the learner stores: its state with the offset, campaigns as they were assessed, versions."""

from collections.abc import Sequence
from typing import NamedTuple

from contracts.shield.v1.learning_pb2 import ModelPublished
from kernel.database import Transaction
from services.shield.domain.outcomes import LearnedTables

LEARNER = "learner"
VERSIONS_KEPT = 5

# Replayed outcomes are written again, older values before newer ones.
RECORD = """
UPDATE shield.campaigns AS c SET delivered = r.delivered, complained = r.complained,
    unsubscribed = r.unsubscribed,
    assessed = CASE WHEN r.assessed = '' THEN c.assessed ELSE r.assessed END
FROM unnest(%s::uuid[], %s::bigint[], %s::float8[], %s::float8[], %s::bytea[])
    AS r (campaign_id, delivered, complained, unsubscribed, assessed)
WHERE c.campaign_id = r.campaign_id
"""

SAVE_STATE = """
INSERT INTO shield.learner AS stored (name, next_offset, state) VALUES (%s, %s, %s)
ON CONFLICT (name) DO UPDATE SET next_offset = excluded.next_offset, state = excluded.state,
    saved_at = now()
"""

SAVE_VERSION = """
INSERT INTO shield.learned_versions (number, version, published, tables) VALUES (%s, %s, %s, %s)
ON CONFLICT (number) DO NOTHING
"""
DELETE_OLD_VERSIONS = """
DELETE FROM shield.learned_versions WHERE number < (
    SELECT min(number) FROM (
        SELECT number FROM shield.learned_versions ORDER BY number DESC LIMIT %s) AS kept)
"""


class SavedState(NamedTuple):
    next_offset: int
    state: bytes


class CampaignFigures(NamedTuple):
    """assessed: serialized; empty if nothing has changed."""

    campaign_id: str
    delivered: int
    complained: float
    unsubscribed: float
    assessed: bytes


async def load_state(tx: Transaction) -> SavedState | None:
    query = "SELECT next_offset, state FROM shield.learner WHERE name = %s"
    rows = await tx.rows(query, (LEARNER,), binary=True)
    return SavedState(*rows[0]) if rows else None


async def save_state(tx: Transaction, saved: SavedState) -> None:
    await tx.execute(SAVE_STATE, (LEARNER, *saved))


async def record(tx: Transaction, figures: Sequence[CampaignFigures]) -> None:
    if figures:
        await tx.execute(RECORD, tuple(map(list, zip(*sorted(figures), strict=True))))


async def save_version(tx: Transaction, tables: LearnedTables) -> None:
    """A repeat changes nothing."""
    published = tables.published
    values = published.offset, published.version, published.SerializeToString(), tables.packed
    await tx.execute(SAVE_VERSION, values)
    await tx.execute(DELETE_OLD_VERSIONS, (VERSIONS_KEPT,))


async def load_version(tx: Transaction, *, known: str) -> LearnedTables | None:
    """The latest version; None if it is the known one, or if there is none."""
    rows = await tx.rows(
        "SELECT published, CASE WHEN version <> %s THEN tables END"
        " FROM shield.learned_versions ORDER BY number DESC LIMIT 1",
        (known,),
        binary=True,
    )
    if not rows or rows[0][1] is None:
        return None
    return LearnedTables(ModelPublished.FromString(rows[0][0]), bytes(rows[0][1]))
