"""Each accepted message is screened, whatever its content."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date, timedelta

import pytest
from google.protobuf.message import Message

from contracts.ingest.v1.content_pb2 import Content
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, MessageAccepted, MessageContext
from contracts.shield.v1.events_pb2 import MessageScreened, ShadowDiffered
from contracts.shield.v1.learning_pb2 import OutcomeRecorded
from kernel import clock
from kernel.child import Child, ChildKilled, ChildRaised, ChildResult
from kernel.content import ContentNotFound, ReadResult, SealedContent
from kernel.crypto import SecretKeyring, new_content_key, new_secret_key, seal
from kernel.errors import Unavailable
from kernel.handler_result import DeadLetter, Emit, HandlerResult
from kernel.processor import Record
from kernel.table import ReplicatedTable
from services.shield.clients.screening_child import ScreeningChild
from services.shield.domain.learning.versions import LearnedVersion
from services.shield.domain.scoring import Scorer
from services.shield.domain.screening import screen
from services.shield.handlers import ScreeningHandler
from services.shield.handlers.campaigns import CampaignResolver
from services.shield.store.campaign_finder import BatchCopies, CampaignFinder, CampaignMatch
from tests.unit.services.shield.samples import (
    BLOCK,
    HOLD,
    PASS,
    InProcessChild,
    make_content,
    scorer,
    screen_content,
    screening_child,
)
from tests.unit.services.shield.test_scoring import GTUBE, UNWANTED
from tests.unit.services.shield.versions import version_that_adds

KEY = new_content_key()
HARMLESS = "Lunch at noon, at the usual place?"
SECRETS = SecretKeyring([new_secret_key()])


class NoKafka:
    def replay(self, event: type, on_record: Callable[[Record], None]) -> asyncio.Event:
        return asyncio.Event()


class FakeContentStore:
    """Sealed bodies by reference; counts the reads."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.reads: list[list[str]] = []

    async def is_mounted(self) -> bool:
        return True

    async def initialize(self) -> None:
        raise NotImplementedError

    async def free_ratio(self) -> float:
        return 1.0

    async def put_many(self, bodies: Sequence[SealedContent]) -> list[str]:
        raise NotImplementedError

    async def get_many(self, references: Sequence[str]) -> list[ReadResult]:
        self.reads.append(list(references))
        return [self.bodies.get(each, ContentNotFound(each)) for each in references]

    async def erase(self, references: Sequence[str]) -> None:
        raise NotImplementedError

    async def remove_expired(self, today: date) -> list[str]:
        raise NotImplementedError


class TwoVersions(InProcessChild):
    """With a version of what was learned that scores beside the model."""

    def __init__(self, shadow: LearnedVersion) -> None:
        super().__init__()
        self.scorer = Scorer(scorer().book, scorer().model, shadow=shadow)

    async def process(self, bodies: Sequence[bytes]) -> list[ChildResult]:
        return list(screen(self.scorer, bodies))


class Places(CampaignFinder):
    """Finds the same place for all that it is given, and keeps what that was."""

    def __init__(self, place: CampaignMatch | None) -> None:
        self.place = place
        self.sightings: list[BatchCopies] = []

    async def find(self, sightings: Sequence[BatchCopies]) -> list[CampaignMatch | None]:
        self.sightings += sightings
        return [self.place for _ in sightings]


def campaigns_in(places: Places, child: ScreeningChild) -> CampaignResolver:
    return CampaignResolver(places, child, limited_from=100)


class Harness:
    """ScreeningHandler with one tenant and a content store."""

    def __init__(
        self,
        *,
        hold_score: float = 0,
        child: Child | None = None,
        places: Places | None = None,
        shadow_share: float = 0.0,
    ) -> None:
        self.content_store = FakeContentStore()
        self.tenants = ReplicatedTable(Tenant, NoKafka())
        self.tenants.replayed.set()
        self.tenants.put(
            Tenant(
                tenant_id="t1",
                version=1,
                content_key=SECRETS.encrypt(KEY),
                hold_score=hold_score,
            )
        )
        screening = screening_child(child or InProcessChild())
        self.handler = ScreeningHandler(
            self.content_store,
            self.tenants,
            SECRETS,
            screening,
            60.0,
            campaigns=campaigns_in(places, screening) if places else None,
            shadow_share=shadow_share,
        )

    def accept(self, number: int, content: Content | bytes, *, key: bytes = KEY) -> MessageAccepted:
        body = content if isinstance(content, bytes) else content.SerializeToString()
        self.content_store.bodies[f"ref{number}"] = seal(key, body, f"t1/e{number}".encode())
        return accepted(number)

    def screen(self, *events: MessageAccepted) -> list[HandlerResult]:
        return asyncio.run(self.handler.on_accepted(events))


def accepted(number: int, *, tenant_id: str = "t1", recipient: int = 0) -> MessageAccepted:
    context = MessageContext(
        message_id=f"m{number}.{recipient}",
        email_id=f"e{number}",
        tenant_id=tenant_id,
        content_ref=f"ref{number}",
    )
    return MessageAccepted(message_id=context.message_id, priority=PRIORITY_BULK, context=context)


def screened(outcome: HandlerResult) -> MessageScreened:
    assert isinstance(outcome, Emit)
    [event] = outcome.events
    assert isinstance(event, MessageScreened)
    return event


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernel.table.POLL_S", 0)
    wait_for = ReplicatedTable.wait_for
    monkeypatch.setattr(
        ReplicatedTable, "wait_for", lambda self, ids: wait_for(self, ids, within_s=0)
    )


def test_each_message_gets_its_own_verdict_in_order() -> None:
    harness = Harness()
    events = [
        harness.accept(1, make_content(text="hello")),
        harness.accept(2, make_content(text=GTUBE)),
    ]
    first, second = [screened(each) for each in harness.screen(*events)]
    assert (first.verdict, second.verdict) == (PASS, BLOCK)
    assert second.reasons[0].rule == "gtube"


def test_context_and_priority_are_forwarded() -> None:
    harness = Harness()
    event = harness.accept(1, make_content(text="hello"))
    [outcome] = harness.screen(event)
    assert screened(outcome).context == event.context
    assert screened(outcome).priority == PRIORITY_BULK
    assert screened(outcome).rules_version == scorer().book.version


def test_a_batch_reads_the_store_once_and_each_content_once() -> None:
    harness = Harness()
    harness.accept(1, make_content(text="hello"))
    harness.accept(2, make_content(text="hello"))
    outcomes = harness.screen(accepted(1), accepted(1, recipient=1), accepted(2))
    assert [screened(each).message_id for each in outcomes] == ["m1.0", "m1.1", "m2.0"]
    assert harness.content_store.reads == [["ref1", "ref2"]]


def test_a_missing_content_is_held_and_the_rest_of_the_batch_passes() -> None:
    harness = Harness()
    present = harness.accept(2, make_content(text="hello"))
    first, second = [screened(each) for each in harness.screen(accepted(1), present)]
    assert (first.verdict, first.reasons[0].rule) == (HOLD, "content_missing")
    assert second.verdict == PASS


def test_a_content_under_another_key_is_held() -> None:
    harness = Harness()
    [outcome] = harness.screen(harness.accept(1, make_content(text="hello"), key=new_content_key()))
    assert screened(outcome).verdict == HOLD
    assert screened(outcome).reasons[0].rule == "content_unreadable"


def test_an_invalid_content_is_held() -> None:
    harness = Harness()
    [outcome] = harness.screen(harness.accept(1, b"\xff\xff\xff"))
    assert screened(outcome).reasons[0].rule == "content_unreadable"


def test_mail_of_a_deleted_tenant_is_blocked() -> None:
    harness = Harness()
    harness.tenants.put(Tenant(tenant_id="t1", version=2, deleted=True))
    [outcome] = harness.screen(harness.accept(1, make_content(text="hello")))
    assert (screened(outcome).verdict, screened(outcome).reasons[0].rule) == (
        BLOCK,
        "tenant_deleted",
    )


def from_nobody(number: int, *, age_s: float) -> MessageAccepted:
    event = accepted(number, tenant_id="t2")
    event.context.accepted_at.FromDatetime(clock.now() - timedelta(seconds=age_s))
    return event


def test_a_batch_waits_for_the_record_of_a_tenant() -> None:
    harness = Harness()
    with pytest.raises(Unavailable):
        harness.screen(harness.accept(1, make_content(text="hello")), from_nobody(2, age_s=55))


def test_mail_of_an_unknown_tenant_is_dead_lettered_after_the_wait() -> None:
    harness = Harness()
    first, second = harness.screen(
        harness.accept(1, make_content(text="hello")), from_nobody(2, age_s=65)
    )
    assert screened(first).verdict == PASS
    assert isinstance(second, DeadLetter)
    assert not second.alarming  # the service continues: the message is at fault


def test_a_content_key_that_cannot_be_decrypted_dead_letters_the_message() -> None:
    harness = Harness()
    stranger = SecretKeyring([new_secret_key()]).encrypt(KEY)
    harness.tenants.put(Tenant(tenant_id="t1", version=2, content_key=stranger))
    [outcome] = harness.screen(harness.accept(1, make_content(text="hello")))
    assert isinstance(outcome, DeadLetter)
    assert outcome.alarming


def test_a_tenants_own_threshold_decides() -> None:
    harness = Harness(hold_score=50)
    [outcome] = harness.screen(harness.accept(1, UNWANTED["a pharmacy"]))
    assert screened(outcome).verdict == PASS


def test_event_and_dry_run_have_the_same_score() -> None:
    harness = Harness()
    [outcome] = harness.screen(harness.accept(1, UNWANTED["a pharmacy"]))
    event, result = screened(outcome), screen_content(UNWANTED["a pharmacy"])
    assert (event.score, tuple(event.reasons)) == (result.score, result.reasons)
    assert event.model_version == scorer().model.version


class Fails(InProcessChild):
    """Work that fails for one of the bodies."""

    def __init__(self, body: int, end: ChildResult) -> None:
        super().__init__()
        self.body, self.end = body, end

    async def process(self, bodies: Sequence[bytes]) -> list[ChildResult]:
        results = await super().process(bodies)
        results[self.body] = self.end
        return results


@pytest.mark.parametrize("reason", ["cpu", "memory", "crash"])
def test_a_message_that_crashes_the_reader_is_held_and_the_rest_passes(reason: str) -> None:
    harness = Harness(child=Fails(1, ChildKilled(reason)))
    events = [harness.accept(number, make_content(text="hello")) for number in range(3)]
    before, hostile, after = [screened(each) for each in harness.screen(*events)]
    assert (before.verdict, hostile.verdict, after.verdict) == (PASS, HOLD, PASS)
    assert hostile.reasons[0].rule == "content_too_complex"
    assert hostile.reasons[0].detail


def test_an_invalid_response_of_the_reader_holds_its_message() -> None:
    harness = Harness(child=Fails(0, b"\xff\xff"))
    [outcome] = harness.screen(harness.accept(0, make_content(text="hello")))
    assert screened(outcome).verdict == HOLD


def test_a_bug_in_the_rules_dead_letters_the_message() -> None:
    harness = Harness(child=Fails(0, ChildRaised("ZeroDivisionError()")))
    first, second = harness.screen(
        *[harness.accept(n, make_content(text="hello")) for n in range(2)]
    )
    assert isinstance(first, DeadLetter)
    assert "ZeroDivisionError" in first.reason
    assert screened(second).verdict == PASS


def test_what_a_version_beside_the_live_one_would_change_is_published() -> None:
    child = TwoVersions(version_that_adds(1.0, "next"))
    harness = Harness(child=child, hold_score=0.5, shadow_share=1.0)
    passing, blocked = make_content(text=HARMLESS), make_content(text=GTUBE)
    events = [harness.accept(1, passing), accepted(1, recipient=1), harness.accept(2, blocked)]
    found = [emitted(one) for one in harness.screen(*events)]
    differing = [one for events in found for one in events if isinstance(one, ShadowDiffered)]
    assert [one.message_id for one in differing] == ["m1.0", "m1.1"]
    [live] = {(one.live.verdict, one.live.model_version) for one in differing}
    assert live == (PASS, scorer().model.version)
    assert differing[0].shadow.verdict != PASS
    assert differing[0].shadow_version.endswith("+next")
    assert differing[0].context.content_ref == "ref1"
    messages = [one for events in found for one in events if isinstance(one, MessageScreened)]
    assert [one.verdict for one in messages] == [PASS, PASS, BLOCK]


def test_what_is_not_in_the_share_is_not_compared() -> None:
    harness = Harness(child=TwoVersions(version_that_adds(1.0)), hold_score=0.5)
    [outcome] = harness.screen(harness.accept(1, make_content(text=HARMLESS)))
    assert len(emitted(outcome)) == 1


def test_copies_carry_their_campaign_and_learning_hears_of_it_once() -> None:
    places = Places(CampaignMatch("c1", 101, is_first=True))
    harness = Harness(places=places)
    first = harness.accept(1, make_content(text="Our spring sale begins on Monday, see you there"))
    copies = [first, accepted(1, recipient=1)]
    events = [one for outcome in harness.screen(*copies) for one in emitted(outcome)]
    messages = [one for one in events if isinstance(one, MessageScreened)]
    assert {one.context.campaign_id for one in messages} == {"c1"}
    assert all(one.context.campaign_limited and one.campaign_ordinal == 101 for one in messages)
    [sighting] = places.sightings
    assert (sighting.tenant_id, sighting.copies) == ("t1", 2)
    opened = {one.outcome_id: one.opened for one in events if isinstance(one, OutcomeRecorded)}
    assert opened.keys() == {"opened/c1"}
    assert opened["opened/c1"].entries


def test_what_has_few_copies_what_never_leaves_and_test_mail_are_in_no_campaign() -> None:
    places = Places(None)
    harness = Harness(places=places)
    few, blocked = (
        harness.accept(1, make_content(text="hello")),
        harness.accept(2, make_content(text=GTUBE)),
    )
    test = harness.accept(3, make_content(text="hello"))
    test.context.test = True
    found = [screened(one) for one in harness.screen(few, blocked, test)]
    assert [one.context.campaign_id for one in found] == ["", "", ""]
    assert len(places.sightings) == 1


def emitted(outcome: HandlerResult) -> Sequence[Message]:
    assert isinstance(outcome, Emit)
    return outcome.events
