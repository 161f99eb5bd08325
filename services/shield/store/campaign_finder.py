"""The campaign of screened messages: from memory, or else from the rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from contracts.shield.v1.events_pb2 import Fingerprint
from kernel.database import Database
from services.shield.domain.campaign_index import CampaignIndex, SeenCampaign
from services.shield.store import campaigns


class BatchCopies(NamedTuple):
    """Copies of a message that are screened together."""

    tenant_id: str
    fingerprint: Fingerprint
    copies: int


class CampaignMatch(NamedTuple):
    """Where copies stand in their campaign. screened: with these, those of all processes.
    is_first: they are the first ones that this process has found in it."""

    campaign_id: str
    screened: int
    is_first: bool


@dataclass(slots=True)
class UncountedCopies:
    """Copies of one campaign that are not counted yet."""

    seen: SeenCampaign
    copies: int
    is_first: bool


class CampaignFinder:
    """copies_min: the number of near-identical messages that is a campaign."""

    def __init__(self, database: Database, *, copies_min: int) -> None:
        self._database = database
        self._index = CampaignIndex(copies_min)

    async def find(self, copies: Sequence[BatchCopies]) -> list[CampaignMatch | None]:
        """The position of each; None while there are too few copies. One transaction, none if all
        have few copies. Raises Unavailable; nothing is counted then."""
        seen = [self._index.match(one.tenant_id, one.fingerprint) for one in copies]
        groups: dict[int, UncountedCopies] = {}
        for campaign, each in zip(seen, copies, strict=True):
            new = UncountedCopies(campaign, campaign.copies, is_first=not campaign.campaign_id)
            groups.setdefault(id(campaign), new).copies += each.copies
        counted = [one for one in groups.values() if self._index.is_campaign(one.seen, one.copies)]
        screened = await self._count(counted) if counted else {}
        for group in groups.values():
            group.seen.copies = 0 if group.seen.campaign_id else group.copies
        return [
            CampaignMatch(one.campaign_id, screened[one.campaign_id], groups[id(one)].is_first)
            if one.campaign_id in screened  # another batch may have found it meanwhile
            else None
            for one in seen
        ]

    async def _count(self, counted: Sequence[UncountedCopies]) -> dict[str, int]:
        """Screened messages by campaign. One that was deleted since is found anew by later
        copies."""
        new = [one for one in counted if not one.seen.campaign_id]
        async with self._database.transaction() as tx:
            await tx.execute(campaigns.UNSYNCED)
            found = await campaigns.find_or_open(tx, [one.seen for one in new])
            opened = {id(one): campaign_id for one, campaign_id in zip(new, found, strict=True)}
            ids = [opened.get(id(one), one.seen.campaign_id) for one in counted]
            added: Counter[str] = Counter()
            for one, campaign_id in zip(counted, ids, strict=True):
                added[campaign_id] += one.copies
            screened = await campaigns.count(tx, added)
        for one, campaign_id in zip(counted, ids, strict=True):
            one.seen.campaign_id = campaign_id if campaign_id in screened else ""
        return screened
