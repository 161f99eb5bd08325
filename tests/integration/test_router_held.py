"""Held messages on real Kafka and PostgreSQL: why they are held, and what becomes of them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1 import held_service_pb2 as pb
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_FAILED,
    REVIEW_REJECTED,
    REVIEW_RELEASED,
    REVIEW_UNSPECIFIED,
    DeliveryAssigned,
    HeldMessageReviewed,
    MessageClosed,
    Review,
    Reviewer,
)
from contracts.router.v1.held_service_pb2_grpc import HeldServiceStub
from contracts.shield.v1.events_pb2 import VERDICT_HOLD, MessageScreened, ScoreReason
from kernel.embedded.folder import free_port
from kernel.ids import lower_bound_at
from kernel.rpc import RpcError, RpcUnavailable
from kernel.times import from_timestamp
from services.router.domain.held import HeldFilter, HeldMessage
from services.router.store import held
from tests.support.forked_process import ForkedProcess
from tests.support.keys import SECRET_KEY
from tests.support.router import TOKEN, RouterHarness, screened, until
from tests.support.stack import shared_harness_fixture

harness = shared_harness_fixture(RouterHarness)
REVIEWER = Reviewer(kind="operator", key_id=str(uuid4()), request_id="r", client="192.0.2.1")


def held_event(
    context: MessageContext, *, score: float = 6.5, rules: Sequence[str] = ("links", "words")
) -> MessageScreened:
    reasons = [ScoreReason(rule=rule, score=1, detail="d", explanation="e") for rule in rules]
    event = screened(context, VERDICT_HOLD, reasons=reasons)
    event.score, event.model_version, event.rules_version = score, "model-1", "rules-1"
    return event


async def hold(harness: RouterHarness, *events: MessageScreened) -> list[str]:
    """Their ids, newest first."""
    await harness.publish(*events)
    ids = sorted((one.message_id for one in events), reverse=True)
    for one in ids:
        await harness.wait_for_state(one, "held")
    return ids


async def listed(call: Any, stub: Any, **request: Any) -> list[str]:  # noqa: ANN401 - any fields
    """The ids on all pages."""
    ids, after = list[str](), ""
    while True:
        page = await call(stub.ListHeld, pb.ListHeldRequest(**request, limit=2, after=after))
        ids += [one.context.message_id for one in page.messages]
        if not (after := page.next):
            return ids


async def review(
    harness: RouterHarness, ids: Sequence[str], verdict: Review.ValueType, **request: str
) -> pb.ReviewHeldResponse:
    async with harness.rpc(HeldServiceStub) as (call, stub):
        given: dict[str, Any] = dict(request) or {"tenant_id": harness.tenant_id}
        response: pb.ReviewHeldResponse = await call(
            stub.ReviewHeld,
            pb.ReviewHeldRequest(
                **given, message_ids=ids, review=verdict, reason="seen", reviewer=REVIEWER
            ),
        )
        return response


async def test_held_messages_are_listed_with_why(harness: RouterHarness) -> None:
    async with harness.shared(), harness.rpc(HeldServiceStub) as (call, stub):
        [context] = contexts = [harness.context(sender="a@b.test")]
        event = held_event(context)
        await hold(harness, event)
        page = await call(stub.ListHeld, pb.ListHeldRequest(tenant_id=harness.tenant_id))
    [one] = page.messages
    assert not page.next
    assert [one.context] == contexts
    assert (one.screening.score, one.screening.model_version) == (6.5, "model-1")
    assert list(one.screening.reasons) == list(event.reasons)
    assert one.reason == "held: links, words"
    assert from_timestamp(one.held_at) >= from_timestamp(context.accepted_at)
    assert one.expires_at == context.expires_at


async def test_lists_are_newest_first_in_pages_and_of_their_owners(harness: RouterHarness) -> None:
    account_id, other_tenant = str(uuid4()), str(uuid4())
    async with harness.shared(), harness.rpc(HeldServiceStub) as (call, stub):
        for tenant_id, version in ((harness.tenant_id, 2), (other_tenant, 1)):
            record = Tenant(tenant_id=tenant_id, version=version, account_id=account_id)
            await harness.publish(record)
        own = [held_event(harness.context()) for _ in range(3)]
        test = held_event(harness.context(test=True))
        others = [held_event(harness.context(tenant_id=other_tenant)) for _ in range(2)]
        stranger = held_event(harness.context(tenant_id=str(uuid4())))
        ids = await hold(harness, *own, test, *others, stranger)
        for _ in range(2):  # a repeat changes nothing
            assert [one for one in await listed(call, stub) if one in ids] == ids
            await harness.publish(*own)
        of_tenant = [one for one in ids if one in {e.message_id for e in (*own, test)}]
        assert await listed(call, stub, tenant_id=harness.tenant_id) == of_tenant
        of_account = [one for one in ids if one != stranger.message_id]
        await until(lambda: is_known(harness, account_id, 2))
        assert await listed(call, stub, account_id=account_id) == of_account
        assert await listed(call, stub, account_id=str(uuid4())) == []
        tests = await listed(call, stub, test_only=True)
        assert [one for one in tests if one in ids] == [test.message_id]


def is_known(harness: RouterHarness, account_id: str, tenants: int) -> bool:
    query = "SELECT count(*) FROM router.tenant_accounts WHERE account_id = %s"
    with harness.database.connect() as connection:
        return connection.execute(query, (account_id,)).fetchone() == (tenants,)


async def test_a_filter_finds_by_rule_domain_sender_campaign_score_and_time(
    harness: RouterHarness,
) -> None:
    async with harness.shared(), harness.rpc(HeldServiceStub) as (call, stub):
        first = held_event(harness.context("ann@x.site-a.test", sender="a@shop.test"), score=5.5)
        campaign_id = str(uuid4())
        context = harness.context("bob@site-b.test", sender="b@news.test", campaign_id=campaign_id)
        second = held_event(context, score=8, rules=["archive"])
        await hold(harness, first, second)
        tenant = {"tenant_id": harness.tenant_id}
        bound = second.context.accepted_at
        lower = str(lower_bound_at(from_timestamp(bound)))
        is_later = first.message_id < lower
        for wanted, found in (
            (pb.HeldFilter(rule="links"), [first]),
            (pb.HeldFilter(rule="archive"), [second]),
            (pb.HeldFilter(recipient_domain="site-b.test"), [second]),
            (pb.HeldFilter(sender="shop.test"), [first]),
            (pb.HeldFilter(sender="b@news.test"), [second]),
            (pb.HeldFilter(campaign_id=campaign_id), [second]),
            (pb.HeldFilter(campaign_id=str(uuid4())), []),
            (pb.HeldFilter(score_from=6), [second]),
            (pb.HeldFilter(score_below=8), [first]),
            (pb.HeldFilter(score_below=8, rule="archive"), []),
            (pb.HeldFilter(since=bound), [second] if is_later else [second, first]),
            (pb.HeldFilter(until=bound), [first] if is_later else []),
        ):
            ids = [one.message_id for one in found]
            assert await listed(call, stub, **tenant, filter=wanted) == ids, wanted


async def test_a_page_goes_on_behind_what_it_has_read(
    harness: RouterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is held, a request reads for a bounded time."""
    monkeypatch.setattr(held, "SCANNED", 2)
    monkeypatch.setattr(held, "SCAN_S", -1.0)
    async with harness.running():
        rare = held_event(harness.context(), rules=["rare"])
        ids = await hold(harness, rare, *(held_event(harness.context()) for _ in range(4)))
        async with harness.rpc(HeldServiceStub) as (call, stub):
            wanted = pb.HeldFilter(rule="rare")
            request = pb.ListHeldRequest(tenant_id=harness.tenant_id, filter=wanted)
            page = await call(stub.ListHeld, request)
            assert (len(page.messages), page.next) == (0, ids[1])
            found = await listed(call, stub, tenant_id=harness.tenant_id, filter=wanted)
    assert found == [rare.message_id]


async def test_a_released_message_is_sent_and_its_review_published(harness: RouterHarness) -> None:
    async with harness.shared():
        context = harness.context()
        [message_id] = await hold(harness, held_event(context))
        response = await review(harness, [message_id, str(uuid4())], REVIEW_RELEASED)
        assert list(response.reviewed_ids) == [message_id]
        assert len(response.not_held_ids) == 1
        await harness.wait_for(DeliveryAssigned, message_id)
        [event] = await harness.wait_for(HeldMessageReviewed, message_id)
        again = await review(harness, [message_id], REVIEW_REJECTED)
        assert list(again.not_held_ids) == [message_id]
    assert (event.review, event.reason, event.reviewer) == (REVIEW_RELEASED, "seen", REVIEWER)
    assert (event.score, event.model_version) == (6.5, "model-1")
    assert list(event.rules) == ["links", "words"]
    assert event.context == context
    assert from_timestamp(event.held_at) <= from_timestamp(event.reviewed_at)
    assert not harness.received(MessageClosed, message_id)


async def test_a_rejected_message_has_failed(harness: RouterHarness) -> None:
    async with harness.shared():
        context = harness.context()
        [message_id] = await hold(harness, held_event(context))
        response = await review(harness, [message_id], REVIEW_REJECTED)
        assert list(response.reviewed_ids) == [message_id]
        [closed] = await harness.wait_for(MessageClosed, message_id)
        [event] = await harness.wait_for(HeldMessageReviewed, message_id)
        assert harness.row(message_id, "state, reason") == ("failed", "rejected")
    assert (closed.state, closed.reason) == (CLOSED_STATE_FAILED, "rejected")
    assert (closed.tenant_id, closed.recipient) == (harness.tenant_id, context.recipient)
    assert event.review == REVIEW_REJECTED


async def test_reviews_reach_only_what_belongs_to_their_owner(harness: RouterHarness) -> None:
    account_id = str(uuid4())
    async with harness.shared():
        await harness.publish(Tenant(tenant_id=harness.tenant_id, version=2, account_id=account_id))
        await until(lambda: is_known(harness, account_id, 1))
        ids = await hold(harness, *(held_event(harness.context()) for _ in range(2)))
        for stranger in ({"tenant_id": str(uuid4())}, {"account_id": str(uuid4())}):
            response = await review(harness, ids, REVIEW_REJECTED, **stranger)
            assert list(response.not_held_ids) == ids
        response = await review(harness, ids[:1], REVIEW_REJECTED, account_id=account_id)
        assert list(response.reviewed_ids) == ids[:1]
        response = await review(harness, ids, REVIEW_RELEASED, account_id="")
        assert list(response.reviewed_ids) == ids[1:]


async def test_wrong_requests_are_refused(harness: RouterHarness) -> None:
    async with harness.shared():
        for ids, verdict in (
            ([], REVIEW_UNSPECIFIED),
            (["x"], REVIEW_RELEASED),
            (["x"] * 501, REVIEW_RELEASED),
        ):
            with pytest.raises(RpcError):
                await review(harness, ids, verdict)


async def test_of_a_release_and_a_rejection_at_once_one_counts(harness: RouterHarness) -> None:
    async with harness.shared():
        ids = await hold(harness, *(held_event(harness.context()) for _ in range(20)))
        released, rejected = await asyncio.gather(
            review(harness, ids, REVIEW_RELEASED), review(harness, ids[::-1], REVIEW_REJECTED)
        )
        assert sorted([*released.reviewed_ids, *rejected.reviewed_ids]) == sorted(ids)
        for one in ids:
            [event] = await harness.wait_for(HeldMessageReviewed, one)
            assert event.review == (
                REVIEW_RELEASED if one in released.reviewed_ids else REVIEW_REJECTED
            )
            kind = DeliveryAssigned if one in released.reviewed_ids else MessageClosed
            await harness.wait_for(kind, one)
        assert not [one for one in rejected.reviewed_ids if harness.received(DeliveryAssigned, one)]


@pytest.mark.parametrize("place", ["in_transaction", "committed"])
async def test_a_review_survives_the_death_of_its_process(
    harness: RouterHarness, tmp_path: Path, place: str
) -> None:
    async with harness.running():
        [message_id] = await hold(harness, held_event(harness.context()))
    process = ForkedProcess("router", environment_of(harness), tmp_path / "router.log")
    process.start(OBM_FAILPOINTS=f"router.review.{place}=kill")
    try:
        await asyncio.to_thread(process.await_ready)
        with pytest.raises(RpcUnavailable):
            await review(harness, [message_id], REVIEW_REJECTED)
        await asyncio.to_thread(process.wait)
    finally:
        process.kill()
    async with harness.running():
        response = await review(harness, [message_id], REVIEW_RELEASED)
        is_done = place == "committed"
        assert list(response.not_held_ids) == ([message_id] if is_done else [])
        kind = MessageClosed if is_done else DeliveryAssigned
        await harness.wait_for(kind, message_id)
        [event] = await harness.wait_for(HeldMessageReviewed, message_id)
    assert event.review == (REVIEW_REJECTED if is_done else REVIEW_RELEASED)


def environment_of(harness: RouterHarness) -> dict[str, str]:
    routes = harness.settings.routes_file
    return {
        "OBM_KAFKA_BOOTSTRAP_SERVERS": harness.bootstrap_servers,
        "OBM_KAFKA_TOPIC_PREFIX": harness.prefix,
        "OBM_SECRET_KEYS": SECRET_KEY,
        "OBM_RPC_TOKEN": TOKEN,
        "ROUTER_SYSTEM_DATABASE_URL": harness.database.system("router"),
        "ROUTER_TENANT_DATABASE_URL": harness.database.tenant("router"),
        "ROUTER_RPC_LISTEN": harness.rpc_address,
        "ROUTER_HEALTH_LISTEN": f"127.0.0.1:{free_port()}",
        "ROUTER_ROUTES_FILE": str(routes),
        "ROUTER_EHLO": "mail.test",
    }


def test_a_filter_matches_senders_by_address_and_domain() -> None:
    context = MessageContext(recipient="ann@x.test", sender="News@Shop.test")
    held_message = HeldMessage("", context.SerializeToString(), b"", 0.0, 0.0, "")
    matches = [
        HeldFilter(sender=one).matches(held_message)
        for one in ("news@shop.test", "shop.test", "hop.test", "x@shop.test")
    ]
    assert matches == [True, True, False, False]
