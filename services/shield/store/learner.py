"""What the learner stores: its state with the offset, and campaigns as they were assessed."""

from collections.abc import Sequence
from typing import NamedTuple

from kernel.database import Transaction

LEARNER = "learner"

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


class SavedLearnerState(NamedTuple):
    next_offset: int
    state: bytes


class CampaignUpdate(NamedTuple):
    """assessed: serialized; empty if nothing has changed."""

    campaign_id: str
    delivered: int
    complained: float
    unsubscribed: float
    assessed: bytes


async def load_state(tx: Transaction) -> SavedLearnerState | None:
    query = "SELECT next_offset, state FROM shield.learner WHERE name = %s"
    rows = await tx.rows(query, (LEARNER,), binary=True)
    return SavedLearnerState(*rows[0]) if rows else None


async def save_state(tx: Transaction, saved: SavedLearnerState) -> None:
    await tx.execute(SAVE_STATE, (LEARNER, *saved))


async def record(tx: Transaction, updates: Sequence[CampaignUpdate]) -> None:
    if updates:
        await tx.execute(RECORD, tuple(map(list, zip(*sorted(updates), strict=True))))
