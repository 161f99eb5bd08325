"""Campaigns: find them by the keys of their messages, count these, and delete what is not used."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from contracts.shield.v1.events_pb2 import Fingerprint
from kernel import ids
from kernel.database import Transaction
from services.shield.domain.campaign_index import SeenCampaign, keys_of, parse
from services.shield.domain.learning.fingerprints import CandidateCampaign, find_campaign

RETENTION = "30"  # days after the last message of a campaign
DELETE_BATCH_ROWS = 500

# Ordinals need not survive a crash of the database.
UNSYNCED = "SET LOCAL synchronous_commit = off"

FIND = """
SELECT DISTINCT position, found.campaign_id::text, found.fingerprint
FROM unnest(%(positions)s::int[], %(tenants)s::uuid[], %(keys)s::text[])
    AS asked (position, tenant_id, key)
CROSS JOIN LATERAL (
    SELECT c.campaign_id, c.fingerprint FROM shield.campaign_keys AS k
    JOIN shield.campaigns AS c ON c.campaign_id = k.campaign_id
    WHERE k.tenant_id = asked.tenant_id AND k.key = asked.key
) AS found
ORDER BY position
"""

# Every process inserts keys in one order, so that two that open a campaign cannot deadlock.
OPEN = """
WITH opened AS (
    INSERT INTO shield.campaigns (campaign_id, tenant_id, fingerprint)
    SELECT * FROM unnest(%(ids)s::uuid[], %(owners)s::uuid[], %(fingerprints)s::bytea[])
)
INSERT INTO shield.campaign_keys (tenant_id, key, campaign_id)
SELECT tenant_id, key, (%(ids)s::uuid[])[position + 1]
FROM unnest(%(positions)s::int[], %(tenants)s::uuid[], %(keys)s::text[])
    AS asked (position, tenant_id, key)
ORDER BY tenant_id, key, position ON CONFLICT DO NOTHING
"""

COUNT = """
WITH seen AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(copies)s::int[]) AS s (campaign_id, copies)
), locked AS (
    SELECT campaign_id FROM shield.campaigns WHERE campaign_id IN (SELECT campaign_id FROM seen)
    ORDER BY campaign_id FOR NO KEY UPDATE
)
UPDATE shield.campaigns AS c SET screened = screened + copies, screened_on = CURRENT_DATE
FROM seen JOIN locked USING (campaign_id) WHERE c.campaign_id = seen.campaign_id
RETURNING c.campaign_id::text, screened
"""

DELETE_UNUSED = f"""
DELETE FROM shield.campaigns WHERE campaign_id = ANY(ARRAY(
    SELECT campaign_id FROM shield.campaigns WHERE screened_on < CURRENT_DATE - {RETENTION}
    ORDER BY screened_on LIMIT {DELETE_BATCH_ROWS}))
"""  # noqa: S608 - constants only


async def find_or_open(tx: Transaction, seen: Sequence[SeenCampaign]) -> list[str]:
    """The stored campaign of each, in order. Two processes that open one at the same moment open
    two."""
    if not seen:
        return []
    found = await _find(tx, seen)
    missing = [position for position in range(len(seen)) if position not in found]
    new = {position: ids.uuid7_text() for position in missing}
    if new:
        opened = [seen[position] for position in missing]
        params = {
            "ids": list(new.values()),
            "owners": [one.tenant_id for one in opened],
            "fingerprints": [one.fingerprint.SerializeToString() for one in opened],
        }
        await tx.execute(OPEN, params | key_columns(opened))
    return [(found | new)[position] for position in range(len(seen))]


async def _find(tx: Transaction, seen: Sequence[SeenCampaign]) -> dict[int, str]:
    rows = await tx.rows(FIND, key_columns(seen))
    found: dict[int, str] = {}
    for position, candidates in groupby(rows, key=lambda row: int(row[0])):
        rated = (
            CandidateCampaign(one, Fingerprint.FromString(raw).content)
            for _, one, raw in candidates
        )
        if campaign_id := find_campaign(parse(seen[position].fingerprint), rated):
            found[position] = campaign_id
    return found


def key_columns(seen: Sequence[SeenCampaign]) -> dict[str, list[object]]:
    """A row for each key of each message."""
    rows = [
        (position, one.tenant_id, key)
        for position, one in enumerate(seen)
        for key in keys_of(one.fingerprint)
    ]
    names = ("positions", "tenants", "keys")
    return {name: list(each) for name, each in zip(names, zip(*rows, strict=True), strict=True)}


async def count(tx: Transaction, copies: Mapping[str, int]) -> dict[str, int]:
    """Add screened messages to campaigns. Returns how many each has now; none of a deleted one."""
    params = {"ids": list(copies), "copies": list(copies.values())}
    rows: list[tuple[str, int]] = await tx.rows(COUNT, params)
    return dict(rows)


async def delete_unused(tx: Transaction) -> int:
    """Delete a batch of campaigns without mail for 30 days. Returns their number."""
    return await tx.execute(DELETE_UNUSED)
