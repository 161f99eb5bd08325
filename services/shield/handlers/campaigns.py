"""To which campaigns screened messages belong."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.shield.v1.learning_pb2 import CampaignOpened, OutcomeRecorded
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from kernel import clock
from services.shield.clients.screening_child import ScreeningChild
from services.shield.domain.screening import with_entries
from services.shield.store.campaign_finder import BatchCopies, CampaignFinder, CampaignMatch


class CampaignMembership(NamedTuple):
    """ordinal, is_limited: see MessageScreened and its context. opened: what learning must know of
    the campaign."""

    campaign_id: str = ""
    ordinal: int = 0
    is_limited: bool = False
    opened: tuple[OutcomeRecorded, ...] = ()


@dataclass(frozen=True, slots=True)
class CampaignResolver:
    """limited_from: the number of messages in a campaign from which on they wait for its allowance.
    Transactional mail of few copies shall not notice."""

    finder: CampaignFinder
    screening_child: ScreeningChild
    limited_from: float

    async def memberships(
        self,
        screened: Iterable[tuple[MessageContext, ScoreResponse]],
        requests: Mapping[str, bytes],
    ) -> dict[str, CampaignMembership]:
        """By content reference. A content occurs once for each recipient. requests: to the child.
        Raises Unavailable."""
        contents: dict[str, tuple[MessageContext, ScoreResponse]] = {}
        counts: dict[str, int] = {}
        for context, response in screened:
            if response.HasField("fingerprint"):
                ref = context.content_ref
                contents[ref] = context, response
                counts[ref] = counts.get(ref, 0) + 1
        copies = [
            BatchCopies(context.tenant_id, response.fingerprint, counts[ref])
            for ref, (context, response) in contents.items()
        ]
        positions = dict(zip(contents, await self.finder.find(copies), strict=True))
        found = {ref: position for ref, position in positions.items() if position}
        opened = await self._opened(found, contents, requests)
        return {
            ref: CampaignMembership(
                position.campaign_id,
                position.screened,
                position.screened > self.limited_from,
                opened.get(ref, ()),
            )
            for ref, position in found.items()
        }

    async def _opened(
        self,
        positions: Mapping[str, CampaignMatch],
        contents: Mapping[str, tuple[MessageContext, ScoreResponse]],
        requests: Mapping[str, bytes],
    ) -> dict[str, tuple[OutcomeRecorded, ...]]:
        """What this process finds for the first time: it cannot know whether a process that has
        found it before lived to tell. Repeats have the same id."""
        refs = {one.campaign_id: ref for ref, one in positions.items() if one.is_first}
        if not refs:
            return {}
        answers = await self.screening_child.screen(
            [with_entries(requests[ref]) for ref in refs.values()]
        )
        opened: dict[str, tuple[OutcomeRecorded, ...]] = {}
        for (campaign_id, ref), answer in zip(refs.items(), answers, strict=True):
            context, response = contents[ref]
            event = CampaignOpened(
                campaign_id=campaign_id,
                tenant_id=context.tenant_id,
                traces=response.fingerprint.traces,
                entries=entries_of(answer),
                margin=response.margin,
            )
            opened[ref] = (opened_event(event),)
        return opened


def entries_of(answer: object) -> bytes:
    """Empty if the child could not give them, as for a message that exhausts its memory."""
    return answer.entries if isinstance(answer, ScoreResponse) else b""


def opened_event(opened: CampaignOpened) -> OutcomeRecorded:
    event = OutcomeRecorded(outcome_id=f"opened/{opened.campaign_id}", opened=opened)
    event.recorded_at.FromMilliseconds(clock.now_ms())
    return event
