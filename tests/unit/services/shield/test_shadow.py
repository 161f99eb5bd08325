"""A second model scores beside the stream, within bounds, and only differences are published."""

import asyncio
from collections.abc import Sequence

import pytest

from contracts.ingest.v1.events_pb2 import MessageAccepted, MessageContext
from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.shield.v1.events_pb2 import ShadowDiffered, Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from kernel import metrics
from kernel.child import ChildRaised, ChildResult
from kernel.errors import Unavailable
from services.shield.domain.shadow import is_sampled
from services.shield.loops import shadow
from services.shield.loops.shadow import ShadowModelScorer
from tests.unit.services.shield.samples import BLOCK, HOLD, PASS, InProcessChild, screening_child

REQUEST = b"request"


class OtherModel(InProcessChild):
    """Gives every content this verdict, or fails."""

    def __init__(self, verdict: Verdict.ValueType = HOLD, error: str = "") -> None:
        super().__init__()
        self.verdict, self.error = verdict, error
        self.outages = 0

    async def process(self, bodies: Sequence[bytes]) -> list[ChildResult]:
        if self.outages:
            self.outages -= 1
            raise Unavailable("a child")
        if self.error:
            return [ChildRaised(self.error) for _ in bodies]
        found = ScoreResponse(verdict=self.verdict, score=6.0, model_version="2-new")
        return [found.SerializeToString() for _ in bodies]


class Harness:
    def __init__(self, child: OtherModel, *, share: float = 1.0) -> None:
        self.published: list[ShadowDiffered] = []
        self.scorer = ShadowModelScorer(screening_child(child), self.publish, share=share)

    async def publish(self, records: Sequence[Outgoing]) -> None:
        self.published += [ShadowDiffered.FromString(one.value) for one in records]

    async def score(self, *lives: Verdict.ValueType, recipients: int = 1) -> None:
        """Offer contents with these verdicts of the live model, and wait until they are scored."""
        refs = [f"ref{number}" for number in range(len(lives))]
        batch = [accepted(ref, n) for ref in refs for n in range(recipients)]
        found = {
            ref: ScoreResponse(verdict=live, score=1.0, model_version="1-old")
            for ref, live in zip(refs, lives, strict=True)
        }
        self.scorer.offer(batch, dict.fromkeys(refs, REQUEST), found)
        task = asyncio.create_task(self.scorer.run())
        while not self.scorer.is_idle:
            await asyncio.sleep(0)
        task.cancel()


def accepted(ref: str, recipient: int) -> MessageAccepted:
    context = MessageContext(message_id=f"{ref}.{recipient}", content_ref=ref)
    return MessageAccepted(message_id=context.message_id, context=context)


def counted(live: str, other: str) -> float:
    return float(metrics.shadow_screened.labels("2-new", live, other)._value.get())


def test_each_message_of_a_content_that_differs_is_published() -> None:
    harness, before = Harness(OtherModel(HOLD)), counted("pass", "hold")
    asyncio.run(harness.score(PASS, HOLD, BLOCK, recipients=2))
    assert [(one.message_id, one.live.verdict) for one in harness.published] == [
        ("ref0.0", PASS), ("ref0.1", PASS), ("ref2.0", BLOCK), ("ref2.1", BLOCK),
    ]  # fmt: skip
    one = harness.published[0]
    assert (one.shadow.verdict, one.shadow.score, one.shadow_version) == (HOLD, 6.0, "2-new")
    assert (one.live.model_version, one.context.content_ref) == ("1-old", "ref0")
    assert counted("pass", "hold") == before + 2


def test_what_cannot_be_scored_is_counted() -> None:
    harness = Harness(OtherModel(error="x"))
    before = metrics.shadow_skipped._value.get()
    asyncio.run(harness.score(PASS, PASS))
    assert not harness.published
    assert metrics.shadow_skipped._value.get() == before + 2


def test_a_child_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernel.retry.backoff_delays_s", lambda: iter([0.0] * 9))
    child = OtherModel(HOLD)
    child.outages = 2
    harness = Harness(child)
    asyncio.run(harness.score(PASS))
    assert len(harness.published) == 1


def test_what_finds_no_room_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "BUFFER_BYTES", 2 * len(REQUEST))
    harness = Harness(OtherModel(HOLD))
    before = metrics.shadow_skipped._value.get()
    asyncio.run(harness.score(PASS, PASS, PASS))
    assert len(harness.published) == 2
    assert metrics.shadow_skipped._value.get() == before + 1
    asyncio.run(harness.score(PASS))  # room again
    assert len(harness.published) == 3


def test_a_model_that_differs_on_everything_publishes_no_more_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shadow, "DIFFERENCES_MAX", 5)
    monkeypatch.setattr("kernel.clock.monotonic_s", lambda: 7.0)
    harness = Harness(OtherModel(HOLD))
    asyncio.run(harness.score(*[PASS] * 9))
    assert len(harness.published) == 5
    monkeypatch.setattr("kernel.clock.monotonic_s", lambda: 8.0)
    asyncio.run(harness.score(PASS))
    assert len(harness.published) == 6


def test_a_share_of_the_contents_is_sampled() -> None:
    refs = [f"now/2026-11-30/{number}" for number in range(2_000)]
    sampled = [ref for ref in refs if is_sampled(ref, 0.25)]
    assert 400 < len(sampled) < 600
    assert [ref for ref in refs if is_sampled(ref, 0.25)] == sampled
    assert all(is_sampled(ref, 1.0) for ref in refs)
    assert not any(is_sampled(ref, 0.0) for ref in refs)
