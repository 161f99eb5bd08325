"""Versions of what was learned, on real Kafka and PostgreSQL: each scores beside the live one until
its time has come, or a person decides; and which ones are in use is never set back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import grpc
import numpy as np
import pytest

from contracts.router.v1.events_pb2 import REVIEW_REJECTED, HeldMessageReviewed
from contracts.shield.v1 import shield_service_pb2 as pb
from contracts.shield.v1.events_pb2 import MessageScreened
from contracts.shield.v1.learning_pb2 import (
    ModelPublished,
    ModelVersionChanged,
    OutcomeRecorded,
)
from kernel import clock
from kernel.database import Database
from kernel.rpc import RpcError, RpcUnavailable
from kernel.topics import contract_of
from services.shield.domain.learning.entries import pack_entries
from services.shield.domain.model.text import HashedFeatures
from services.shield.domain.outcomes import (
    LearningConfig,
    OutcomeFold,
    PackedVersion,
    read_baseline,
)
from services.shield.store import versions
from services.shield.store.versions import TABLES_KEPT, RolloutVersions
from tests.integration.test_shield import ShieldHarness
from tests.integration.test_shield_learning import ASSESSED, OUTCOMES, opened
from tests.support.stack import FreshDatabase

CHANGED = contract_of(ModelVersionChanged.DESCRIPTOR).topic.name
PUBLISHED = contract_of(ModelPublished.DESCRIPTOR).topic.name
DAY_S = 86_400
START_S = int(clock.now().timestamp())  # later than all reviews: their times are real
OFFER = "Hello, our spring sale begins on Monday. All shoes and boots are half price."


@pytest.fixture
def post(bootstrap_servers: str, database: FreshDatabase, tmp_path: Path) -> ShieldHarness:
    forget_versions(database)
    made = ShieldHarness(bootstrap_servers, f"v{uuid4().hex[:8]}.", tmp_path, database)
    made.settings.learning = "on"
    return made


def forget_versions(database: FreshDatabase) -> None:
    """Of other tests, which learned from other topics."""
    with database.connect() as connection:
        connection.execute("TRUNCATE shield.learner, shield.learned_versions, shield.rollout")


def rejected(post: ShieldHarness, number: int, day: int) -> list[Any]:
    """A reviewer rejects mail of a campaign: something was learned on this day."""
    campaign_id = str(uuid4())
    start = opened(post.tenant.tenant_id, campaign_id)
    words = np.arange(40, dtype=np.uint32) * 4 + 4_000 * number  # others than before
    start.opened.entries = pack_entries(HashedFeatures(words, words, words))
    start.recorded_at.FromSeconds(START_S + day * DAY_S)
    review = HeldMessageReviewed(message_id=str(uuid4()), version=number, review=REVIEW_REJECTED)
    review.context.campaign_id = campaign_id
    review.context.tenant_id = post.tenant.tenant_id
    review.reviewed_at.FromSeconds(START_S + day * DAY_S)
    return [start, review]


class Versions:
    """What a caller sees of them."""

    def __init__(self, call: Any, stub: Any) -> None:  # noqa: ANN401 - of any RPC
        self.call, self.stub = call, stub

    async def roles(self) -> dict[str, str]:
        found = await self.call(self.stub.ListVersions, pb.ListVersionsRequest())
        return {one.published.version: one.role for one in found.versions}

    async def until(self, *roles: str) -> list[str]:
        """The versions, newest first, as soon as they have these roles."""
        async with asyncio.timeout(240):
            while True:
                with suppress(RpcUnavailable):
                    found = await self.roles()
                    if tuple(found.values()) == roles:
                        return list(found)
                await asyncio.sleep(0.1)

    async def review(self, version: str, *, promoted: bool) -> pb.LearnedVersionInfo:
        request = pb.ReviewVersionRequest(
            version=version, promoted=promoted, reviewed_by="key_1", reason="because"
        )
        response = await self.call(self.stub.ReviewVersion, request)
        return cast(pb.LearnedVersionInfo, response.version)

    async def refusal(self, version: str, *, promoted: bool) -> grpc.StatusCode:
        with pytest.raises(RpcError) as refused:
            await self.review(version, promoted=promoted)
        return refused.value.code


@asynccontextmanager
async def running(post: ShieldHarness) -> AsyncIterator[Versions]:
    async with post.running(), post.rpc() as (call, stub):
        yield Versions(call, stub)


async def screened_with(post: ShieldHarness, version: str) -> None:
    """Wait until messages are screened with this version."""
    async with asyncio.timeout(240):
        while True:
            message = await post.accepted(OFFER)
            await post.publish(message)
            while not (found := await screening_of(post, message.message_id)):
                await asyncio.sleep(0.1)
            if found.learned_version == version:
                return


async def screening_of(post: ShieldHarness, message_id: str) -> MessageScreened | None:
    [topic, _] = contract_of(MessageScreened.DESCRIPTOR).names
    prefixed = [MessageScreened.FromString(raw) for raw in await post.read_all(topic)]
    return next((one for one in prefixed if one.message_id == message_id), None)


async def test_a_version_is_compared_promoted_and_withdrawn(post: ShieldHarness) -> None:
    await post.publish(post.tenant, *rejected(post, 1, 0))
    async with running(post) as shown:
        await post.publish(*rejected(post, 2, 1))
        [first] = await shown.until("shadow")
        await screened_with(post, "")
        assert await shown.refusal("1-0+0", promoted=True) == grpc.StatusCode.NOT_FOUND
        before = await shown.review(first, promoted=True)
        assert (before.role, before.published.enforced) == ("shadow", True)
        await shown.until("live")
        await screened_with(post, first)
        conflict = grpc.StatusCode.FAILED_PRECONDITION
        assert await shown.refusal(first, promoted=True) == conflict
    # A process that starts later screens with it too, and its time promotes the next one.
    await post.publish(*rejected(post, 3, 2))
    async with running(post) as shown:
        second, _ = await shown.until("shadow", "live")
        await screened_with(post, first)
        await post.publish(*rejected(post, 4, 3))
        third, *_ = await shown.until("shadow", "live", "past")
        await screened_with(post, second)
        await shown.review(second, promoted=False)
        await shown.until("shadow", "past", "live")
        await screened_with(post, first)
        assert await shown.refusal(second, promoted=False) == grpc.StatusCode.FAILED_PRECONDITION
        await shown.review(third, promoted=False)
        await shown.review(first, promoted=False)
        await shown.until("past", "past", "past")
        await screened_with(post, "")
    await check_replay(post)


async def check_replay(post: ShieldHarness) -> None:
    """The same outcomes give the same versions, and the same changes, again. A process that goes on
    without a stored state publishes them again, with the same ids."""
    records = await post.read_all(OUTCOMES)
    records_of_changes = dict.fromkeys(await post.read_all(CHANGED))
    changes = [ModelVersionChanged.FromString(raw) for raw in records_of_changes]
    assert [(one.change, bool(one.reviewed_by)) for one in changes] == [
        ("promoted", True),
        ("promoted", False),
        ("withdrawn", True),
        ("withdrawn", True),
        ("withdrawn", True),
    ]
    start = LearningConfig(read_baseline(post.settings.model_file.read_bytes()), is_enforced=True)
    fold = OutcomeFold(start)
    again = [
        event
        for offset, raw in enumerate(records)
        for event in fold.apply(OutcomeRecorded.FromString(raw), offset)
    ]
    records_of_versions = dict.fromkeys(await post.read_all(PUBLISHED))
    published = [ModelPublished.FromString(raw) for raw in records_of_versions]
    assert [one.published for one in again if isinstance(one, PackedVersion)] == published
    assert [one for one in again if isinstance(one, ModelVersionChanged)] == changes
    assert await post.read_all(ASSESSED)


async def test_while_learning_watches_a_version_is_compared_and_never_used(
    post: ShieldHarness,
) -> None:
    post.settings.learning = "shadow"
    await post.publish(post.tenant, *rejected(post, 1, 0), *rejected(post, 2, 1))
    async with running(post) as shown:
        [version] = await shown.until("shadow")
        conflict = grpc.StatusCode.FAILED_PRECONDITION
        assert await shown.refusal(version, promoted=True) == conflict
        await shown.review(version, promoted=False)
        await shown.until("past")
        await screened_with(post, "")


async def test_an_older_repeat_sets_nothing_back_and_tables_in_use_are_kept(
    database: FreshDatabase,
) -> None:
    forget_versions(database)
    system = Database(database.system("shield"), name="test")
    try:
        async with system.transaction() as tx:
            for number in range(1, TABLES_KEPT + 5):
                published = ModelPublished(version=f"m+{number}", offset=number)
                await versions.save_version(tx, PackedVersion(published, b"t"), usable=["m+2"])
            await versions.save_rollout(tx, RolloutVersions("m+2", "m+9"), next_offset=9)
            await versions.save_rollout(tx, RolloutVersions("m+1", "m+2"), next_offset=8)
            promoted = ModelVersionChanged(version="m+2", offset=9, change="promoted")
            withdrawn = ModelVersionChanged(version="m+2", offset=8, change="withdrawn")
            await versions.save_change(tx, promoted)
            await versions.save_change(tx, withdrawn)
            found = await versions.load_in_use(tx, known=RolloutVersions())
            assert found == (RolloutVersions("m+2", "m+9"), (b"t", b"t"))
            assert await versions.load_in_use(tx, known=RolloutVersions("m+2", "m+9")) is None
            listed = {one.published.version: one for one in await versions.list_versions(tx)}
            assert list(listed) == [f"m+{number}" for number in range(TABLES_KEPT + 4, 0, -1)]
            roles = {name: one.role for name, one in listed.items() if one.role != "past"}
            assert roles == {"m+2": "live", "m+9": "shadow"}
            assert listed["m+2"].changed == promoted
            kept = await tx.rows("SELECT number FROM shield.learned_versions WHERE tables <> ''")
            assert {number for (number,) in kept} == {2, 5, 6, 7, 8, 9}
    finally:
        await system.close()
