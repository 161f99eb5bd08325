"""shield learns from what becomes of campaigns, on real Kafka and PostgreSQL: it assesses them, and
the same outcomes give the same state again."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from contracts.router.v1.events_pb2 import CampaignsCounted
from contracts.shield.v1.learning_pb2 import (
    CAMPAIGN_OUTCOME_KIND_COMPLAINED,
    CAMPAIGN_OUTCOME_KIND_DELIVERED,
    CAMPAIGN_OUTCOME_KIND_UNSUBSCRIBED,
    CampaignAssessed,
    CampaignOpened,
    CampaignOutcome,
    OutcomeRecorded,
)
from contracts.shield.v1.shield_service_pb2 import ListCampaignsRequest
from kernel.service import run_services
from kernel.topics import contract_of
from services.shield.app import create_service
from services.shield.domain.learning.entries import pack_entries
from services.shield.domain.model.text import HashedFeatures
from services.shield.domain.outcomes import LearningConfig, OutcomeFold, read_baseline
from services.shield.loops import learner
from services.shield.settings import Settings
from tests.integration.test_shield import ShieldHarness
from tests.support.stack import FreshDatabase


class Died(Exception):
    pass


BAD, GOOD = str(uuid4()), str(uuid4())
OUTCOMES = contract_of(OutcomeRecorded.DESCRIPTOR).topic.name
ASSESSED = contract_of(CampaignAssessed.DESCRIPTOR).topic.name


@pytest.fixture
def post(bootstrap_servers: str, database: FreshDatabase, tmp_path: Path) -> ShieldHarness:
    return ShieldHarness(bootstrap_servers, f"l{uuid4().hex[:8]}.", tmp_path, database)


def opened(tenant_id: str, campaign_id: str) -> OutcomeRecorded:
    words = np.arange(40, dtype=np.uint32) + len(campaign_id)
    entries = pack_entries(HashedFeatures(words, words, words))
    campaign = CampaignOpened(campaign_id=campaign_id, tenant_id=tenant_id, entries=entries)
    event = OutcomeRecorded(outcome_id=f"opened/{campaign_id}", opened=campaign)
    event.recorded_at.FromSeconds(1_790_000_000)
    return event


def counted(tenant_id: str, number: int, *outcomes: CampaignOutcome) -> CampaignsCounted:
    for one in outcomes:
        one.tenant_id = tenant_id
    event = CampaignsCounted(first=f"batch-{number}/1", outcomes=outcomes)
    event.counted_at.FromSeconds(1_790_000_000 + number)
    return event


def delivered(campaign_id: str, count: int) -> CampaignOutcome:
    kind = CAMPAIGN_OUTCOME_KIND_DELIVERED
    return CampaignOutcome(campaign_id=campaign_id, kind=kind, count=count)


def complained(campaign_id: str, number: int) -> CampaignOutcome:
    return CampaignOutcome(
        campaign_id=campaign_id,
        kind=CAMPAIGN_OUTCOME_KIND_COMPLAINED,
        count=1,
        recipient=number.to_bytes(16),
        domain="big.example",
        large_mailbox=True,
    )


def unsubscribed(campaign_id: str, number: int) -> CampaignOutcome:
    outcome = complained(campaign_id, 100 + number)
    outcome.kind = CAMPAIGN_OUTCOME_KIND_UNSUBSCRIBED
    return outcome


def history(tenant_id: str) -> list[CampaignsCounted]:
    """200 deliveries of each, a complaint about the bad one, and an unsubscribe from the good one,
    again and again."""
    return [
        counted(
            tenant_id,
            number,
            delivered(BAD, 200),
            delivered(GOOD, 200),
            complained(BAD, number),
            unsubscribed(GOOD, number),
        )
        for number in range(15)
    ]


async def test_a_bad_campaign_is_held_and_the_same_outcomes_give_the_same_state(
    post: ShieldHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = post.tenant.tenant_id
    events = history(tenant_id)
    for campaign_id in (BAD, GOOD):
        post.add_campaign(campaign_id)
    await post.publish(post.tenant, opened(tenant_id, BAD), opened(tenant_id, GOOD), *events[:8])
    async with post.running():
        await until(lambda: post.figures(GOOD)[0] == 8 * 200)
    # It may die before and after it has stored what it has decided.
    await post.publish(*events[8:10])
    for place in ("shield.learner.in_transaction", "shield.learner.committed"):
        monkeypatch.setattr(learner, "failpoint", partial(die, place))
        with pytest.raises(BaseExceptionGroup):
            await run_services([create_service(post.settings)], stop=asyncio.Event())
    monkeypatch.undo()
    # A successor goes on from the outcomes, whatever its predecessor had stored; repeats are none.
    await post.publish(*events[4:])
    async with post.running():
        await until(lambda: post.figures(GOOD)[0] == 15 * 200)
        found = [CampaignAssessed.FromString(raw) for raw in await post.read_all(ASSESSED)]
        await check_listed(post, found)
    held = [one for one in found if one.change == "held"]
    assert {one.campaign_id for one in held} == {BAD}
    assert held[0].delivered < 5_000
    assert not held[0].enforced  # learning watches
    assert len({(one.campaign_id, one.version) for one in found}) == len(
        {one.SerializeToString() for one in found}
    )
    delivered_after, complaints = post.figures(GOOD)
    assert (delivered_after, complaints) == (15 * 200, 0)

    records = await post.read_all(OUTCOMES)
    assert digest(post.settings, records) == digest(post.settings, records)
    assert digest(post.settings, records) != digest(post.settings, records[:-1])


async def check_listed(post: ShieldHarness, assessed: Sequence[CampaignAssessed]) -> None:
    """Each with what was counted and its last assessment."""
    async with post.rpc() as (call, stub):
        request = ListCampaignsRequest(tenant_id=post.tenant.tenant_id)
        response = await call(stub.ListCampaigns, request)
    listed = {one.campaign_id: one for one in response.campaigns}
    bad, good = listed[BAD], listed[GOOD]
    assert bad.assessed in assessed
    assert bad.assessed.change == "held"
    assert (bad.delivered, bad.action) == (bad.assessed.delivered, "none")
    assert (good.delivered, good.complaints, good.unsubscribes) == (15 * 200, 0, 15)


def die(place: str, name: str) -> None:
    if name == place:
        raise Died


def digest(settings: Settings, records: Sequence[bytes]) -> str:
    fold = OutcomeFold(LearningConfig(read_baseline(settings.model_file.read_bytes())))
    for offset, raw in enumerate(records):
        fold.apply(OutcomeRecorded.FromString(raw), offset)
    return fold.learner.state.digest()


async def until(condition: Callable[[], object], within_s: float = 120.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.1)
