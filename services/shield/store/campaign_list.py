"""Campaigns as their owners see them: those of some tenants, or of all."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from contracts.shield.v1.learning_pb2 import CampaignAssessed
from contracts.shield.v1.shield_service_pb2 import Campaign
from kernel import clock
from kernel.database import Row, Transaction
from services.shield.domain.campaign_restriction import restriction_of

SCANNED = 500  # rows of each read
SCAN_S = 0.5  # then the page stays short

COLUMNS = """campaign_id::text, tenant_id::text, screened, delivered, complained, unsubscribed,
    coalesce(assessed, '')"""
OF_ALL = f"""
SELECT {COLUMNS} FROM shield.campaigns WHERE campaign_id < %(before)s
ORDER BY campaign_id DESC LIMIT %(rows)s
"""  # noqa: S608 - constants only
# From the index alone, before rows are read: an account can have many tenants.
OF_TENANTS = f"""
WITH newest AS MATERIALIZED (
    SELECT found.campaign_id FROM unnest(%(tenants)s::uuid[]) AS owner (tenant_id)
    CROSS JOIN LATERAL (
        SELECT c.campaign_id FROM shield.campaigns AS c
        WHERE c.tenant_id = owner.tenant_id AND c.campaign_id < %(before)s
        ORDER BY c.campaign_id DESC LIMIT %(rows)s
    ) AS found
    ORDER BY found.campaign_id DESC LIMIT %(rows)s
)
SELECT {COLUMNS} FROM newest JOIN shield.campaigns USING (campaign_id) ORDER BY campaign_id DESC
"""  # noqa: S608 - constants only
ONE = f"SELECT {COLUMNS} FROM shield.campaigns WHERE campaign_id = %s"  # noqa: S608 - constants


class CampaignPage(NamedTuple):
    """next: the id after which the next page begins; empty at the end."""

    campaigns: Sequence[Campaign]
    next: str


async def read_page(
    tx: Transaction,
    tenant_ids: Sequence[str] | None,
    *,
    wanted: Callable[[Campaign], bool],
    before: str,
    limit: int,
) -> CampaignPage:
    """Newest first. tenant_ids: None for all. A page is short if the search took too long."""
    statement = OF_ALL if tenant_ids is None else OF_TENANTS
    found: list[Campaign] = []
    until_s = clock.monotonic_s() + SCAN_S
    while True:
        params = {"tenants": list(tenant_ids or ()), "before": before, "rows": SCANNED}
        rows = await tx.rows(statement, params, binary=True)
        found += filter(wanted, map(campaign_of, rows))
        if len(found) > limit:
            return CampaignPage(found[:limit], found[limit - 1].campaign_id)
        if len(rows) < SCANNED:
            return CampaignPage(found, "")
        before = rows[-1][0]
        if clock.monotonic_s() > until_s:
            return CampaignPage(found, before)


async def find(tx: Transaction, campaign_id: str) -> Campaign | None:
    rows = await tx.rows(ONE, (campaign_id,), binary=True)
    return campaign_of(rows[0]) if rows else None


def campaign_of(row: Row) -> Campaign:
    *figures, stored = row
    assessed = CampaignAssessed.FromString(stored) if stored else None
    names = "campaign_id", "tenant_id", "screened", "delivered", "complaints", "unsubscribes"
    return Campaign(
        **dict(zip(names, figures, strict=True)),
        assessed=assessed,
        action=restriction_of(assessed) if assessed else "",
    )
