"""Campaigns leave within their allowance, and wait for a review if they are bad; what becomes of
their mail is told once. On real PostgreSQL and Kafka."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, cast
from uuid import UUID, uuid4, uuid5

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_PERMANENT,
    ATTEMPT_OUTCOME_TEMPORARY,
    ComplaintReceived,
)
from contracts.events.v1.events_pb2 import RecipientUnsubscribed
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import (
    REVIEW_RELEASED,
    CampaignsCounted,
    DeliveryAssigned,
    MessageHeld,
)
from contracts.router.v1.held_service_pb2 import CountHeldRequest, ReviewHeldRequest
from contracts.router.v1.held_service_pb2_grpc import HeldServiceStub
from contracts.shield.v1.events_pb2 import MessageScreened
from contracts.shield.v1.learning_pb2 import (
    CAMPAIGN_OUTCOME_KIND_BLOCKED,
    CAMPAIGN_OUTCOME_KIND_COMPLAINED,
    CAMPAIGN_OUTCOME_KIND_DELIVERED,
    CAMPAIGN_OUTCOME_KIND_UNSUBSCRIBED,
    CampaignAssessed,
    CampaignOutcome,
)
from kernel.rpc import RpcClient
from services.router.domain.suppressions import address_hash
from tests.support.router import TOKEN, RouterHarness, attempted, screened, until
from tests.support.stack import harness_fixture

harness = harness_fixture(RouterHarness, scope="function")
ALLOWANCE = 4


def campaign(harness: RouterHarness, name: str = "sale") -> str:
    return str(uuid5(UUID(harness.tenant_id), name))


def mail(harness: RouterHarness, campaign_id: str, count: int) -> list[MessageContext]:
    return [
        harness.context(f"u{number}@x.site-a.test", campaign_id=campaign_id, campaign_limited=True)
        for number in range(count)
    ]


def assigned(harness: RouterHarness, contexts: Sequence[MessageContext]) -> list[DeliveryAssigned]:
    ids = {one.message_id for one in contexts}
    found = [one for one in harness.events if isinstance(one, DeliveryAssigned)]
    return list({one.message_id: one for one in found if one.message_id in ids}.values())


def assessment(
    harness: RouterHarness,
    version: int,
    **extra: Any,  # noqa: ANN401 - fields
) -> CampaignAssessed:
    return CampaignAssessed(
        campaign_id=campaign(harness),
        version=version,
        tenant_id=harness.tenant_id,
        delivered=ALLOWANCE,
        enforced=True,
        **extra,
    )


def outcomes(harness: RouterHarness) -> list[CampaignOutcome]:
    """Those of the tenant: other tests share the topics."""
    counted = {one.first: one for one in harness.events if isinstance(one, CampaignsCounted)}
    found = [outcome for one in counted.values() for outcome in one.outcomes]
    return [one for one in found if one.tenant_id == harness.tenant_id]


async def test_a_campaign_waits_at_its_allowance_and_other_mail_does_not(
    harness: RouterHarness,
) -> None:
    harness.extra = {"campaign_allowance": ALLOWANCE}
    async with harness.running():
        limited, free = mail(harness, campaign(harness), 12), mail(harness, "", 12)
        for one in free:
            one.campaign_limited = False
        few = mail(harness, campaign(harness, "other"), 6)
        for one in few:
            one.campaign_limited = False
        await harness.publish(*map(screened, [*limited, *free, *few]))
        await until(lambda: len(assigned(harness, [*free, *few])) == 18)
        await until(lambda: len(assigned(harness, limited)) == ALLOWANCE)
        first, second, *rest = assigned(harness, limited)
        queue = f"{harness.tenant_id}/site-a/campaign={campaign(harness)}"
        assert {harness.row(one.message_id, "queue_id") for one in limited} == {queue}
        await until(
            lambda: blocked_by(harness, queue) == (f"campaign/{campaign(harness)}", "allowance")
        )

        # What was refused for a time has used nothing.
        await harness.publish(attempted(first, ATTEMPT_OUTCOME_TEMPORARY, code=450))
        await until(lambda: len(assigned(harness, limited)) == ALLOWANCE + 1)
        await harness.publish(*map(attempted, [second, *rest]))

        await harness.publish(assessment(harness, 7, change="paced", allowed=ALLOWANCE + 3))
        await until(lambda: len(assigned(harness, limited)) == ALLOWANCE + 4)
    # The next process knows the counts and the assessment; an older one changes nothing.
    async with harness.running():
        await harness.publish(assessment(harness, 6, change="released", allowed=0))
        await harness.publish(assessment(harness, 9, change="paced", allowed=ALLOWANCE + 5))
        await until(lambda: len(assigned(harness, limited)) == ALLOWANCE + 6)
        await until(
            lambda: blocked_by(harness, queue) == (f"campaign/{campaign(harness)}", "allowance")
        )
        assert len(assigned(harness, limited)) == ALLOWANCE + 6
        await harness.publish(assessment(harness, 10, change="released", allowed=0))
        await until(lambda: len(assigned(harness, limited)) == 12)


def blocked_by(harness: RouterHarness, queue_id: str) -> object:
    with harness.database.connect() as connection:
        return connection.execute(
            "SELECT blocked_by, limited_by FROM router.queues WHERE queue_id = %s", (queue_id,)
        ).fetchone()


async def test_a_bad_campaign_is_held_wherever_its_mail_waits(harness: RouterHarness) -> None:
    harness.extra = {"campaign_allowance": ALLOWANCE}
    async with harness.running():
        limited = mail(harness, campaign(harness), 8)
        await harness.publish(*map(screened, limited))
        await until(lambda: len(assigned(harness, limited)) == ALLOWANCE)
        waiting = {one.message_id for one in limited} - {
            one.message_id for one in assigned(harness, limited)
        }
        bad = assessment(harness, 3, change="held", complaints=2.5, evidence=5.4)
        await harness.publish(bad)
        for message_id in waiting:
            await harness.wait_for_state(message_id, "held")
            [held] = await harness.wait_for(MessageHeld, message_id)
            assert held.context.campaign_id == campaign(harness)
            expected = (
                f"held: campaign {campaign(harness)}: 2.5 complaints of 4 delivered (evidence 5.4)"
            )
            assert held.detail == harness.row(message_id, "reason") == expected
        # Mail that shield has screened since then too, whether or not it counts.
        [late] = mail(harness, campaign(harness), 1)
        late.campaign_limited = False
        other = mail(harness, campaign(harness, "other"), 2)
        await harness.publish(screened(late), *map(screened, other))
        await harness.wait_for_state(late.message_id, "held")
        await until(lambda: len(assigned(harness, other)) == 2)
        stored = MessageScreened.FromString(cast(bytes, harness.row(late.message_id, "screening")))
        assert [one.rule for one in stored.reasons] == ["campaign"]
        assert await count_held(harness) == {campaign(harness): len(waiting) + 1}
        # One message that a person has released leaves, and then the others, if all may.
        await release(harness, late.message_id)
        await until(lambda: assigned(harness, [late]))
        assert {harness.row(message_id) for message_id in waiting} == {"held"}
        await harness.publish(assessment(harness, 4, change="released", reviewed=True))
        await until(lambda: len(assigned(harness, limited)) == 8)


async def count_held(harness: RouterHarness) -> dict[str, int]:
    async with harness.rpc(HeldServiceStub) as (call, stub):
        stranger = CountHeldRequest(tenant_ids=[str(uuid4())])
        assert not (await call(stub.CountHeld, stranger)).messages
        own = CountHeldRequest(tenant_ids=[harness.tenant_id, str(uuid4())])
        return dict((await call(stub.CountHeld, own)).messages)


async def release(harness: RouterHarness, message_id: str) -> None:
    client = RpcClient("router", harness.rpc_address, TOKEN)
    stub = HeldServiceStub(client.channel)
    request = ReviewHeldRequest(
        tenant_id=harness.tenant_id, message_ids=[message_id], review=REVIEW_RELEASED
    )
    response = await client.call(stub.ReviewHeld, request, deadline_s=60.0)
    await client.close()
    assert response.reviewed_ids == [message_id]


async def test_what_becomes_of_campaigns_counts_once(harness: RouterHarness) -> None:
    async with harness.running():
        sent = [
            *mail(harness, campaign(harness), 5),
            *mail(harness, campaign(harness, "other"), 2),
            *mail(harness, "", 2),
        ]
        await harness.publish(*map(screened, sent))
        await until(lambda: len(assigned(harness, sent)) == 9)
        [blocked, *delivered] = assigned(harness, sent[:5])
        refused = attempted(blocked, ATTEMPT_OUTCOME_PERMANENT, code=550, bounce_class="spam_block")
        rest = assigned(harness, sent[5:])
        results = [refused, *map(attempted, [*delivered, *rest])]
        report: dict[str, Any] = {
            "message_id": delivered[0].message_id,
            "tenant_id": harness.tenant_id,
            "recipient": delivered[0].context.recipient,
        }
        complaint = ComplaintReceived(feedback_type="abuse", **report)
        await harness.publish(*results)
        for one in results:
            await until(partial(is_closed, harness, one.message_id))
        await harness.publish(complaint, *results)
        await harness.publish(complaint, RecipientUnsubscribed(scope="all", day=20_000, **report))
        await until(lambda: len(kinds(harness)) == 5)
        await until(lambda: not_behind(harness))
        assert kinds(harness) == {
            (campaign(harness), CAMPAIGN_OUTCOME_KIND_DELIVERED): 4,
            (campaign(harness, "other"), CAMPAIGN_OUTCOME_KIND_DELIVERED): 2,
            (campaign(harness), CAMPAIGN_OUTCOME_KIND_BLOCKED): 1,
            (campaign(harness), CAMPAIGN_OUTCOME_KIND_COMPLAINED): 1,
            (campaign(harness), CAMPAIGN_OUTCOME_KIND_UNSUBSCRIBED): 1,
        }
        [found] = [one for one in outcomes(harness) if one.domain and one.kind == 3]
        assert found.domain == "x.site-a.test"
        assert found.recipient == address_hash(delivered[0].context.recipient)


def is_closed(harness: RouterHarness, message_id: str) -> bool:
    return harness.row(message_id) in {"delivered", "bounced"}


def kinds(harness: RouterHarness) -> Counter[tuple[str, int]]:
    found: Counter[tuple[str, int]] = Counter()
    for one in outcomes(harness):
        found[one.campaign_id, one.kind] += one.count
    return found


def not_behind(harness: RouterHarness) -> bool:
    """Every event that router has published was received."""
    with harness.database.connect() as connection:
        row = connection.execute("SELECT count(*) FROM router.outbox").fetchone()
    return row == (0,)
