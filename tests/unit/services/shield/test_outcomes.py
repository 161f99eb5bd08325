"""The fold over recorded outcomes: repeats are known, and a stored state goes on as if nothing had
been."""

from functools import cache

from contracts.shield.v1.learning_pb2 import (
    CAMPAIGN_OUTCOME_KIND_COMPLAINED,
    CAMPAIGN_OUTCOME_KIND_DELIVERED,
    CampaignAssessed,
    CampaignOpened,
    CampaignOutcome,
    OutcomeRecorded,
    OutcomesCounted,
)
from services.shield.domain.learning.campaign import CampaignRamp
from services.shield.domain.learning.versions import CanaryCheck
from services.shield.domain.outcomes import (
    Event,
    LearningConfig,
    OutcomeFold,
    read_baseline,
    restore_or_start,
)
from tests.unit.services.shield.samples import packed_model

TENANT, CAMPAIGN = "t1", "c1"


@cache
def baseline() -> CanaryCheck:
    return read_baseline(packed_model())


def opened() -> OutcomeRecorded:
    campaign = CampaignOpened(campaign_id=CAMPAIGN, tenant_id=TENANT)
    return OutcomeRecorded(outcome_id="opened/c1", opened=campaign)


def counted(number: int, delivered: int, complaints: int = 0) -> OutcomeRecorded:
    outcomes = [
        CampaignOutcome(
            campaign_id=CAMPAIGN, tenant_id=TENANT, kind=CAMPAIGN_OUTCOME_KIND_DELIVERED,
            count=delivered,
        ),
        *(
            CampaignOutcome(
                campaign_id=CAMPAIGN, tenant_id=TENANT, kind=CAMPAIGN_OUTCOME_KIND_COMPLAINED,
                count=1, recipient=bytes([number, one]), domain="big.example", large_mailbox=True,
            )
            for one in range(complaints)
        ),
    ]  # fmt: skip
    event = OutcomesCounted(first=f"m{number}/1", outcomes=outcomes)
    event.counted_at.FromSeconds(1_790_000_000 + number)
    return OutcomeRecorded(outcome_id=f"counted/{event.first}", counted=event)


def changes(events: list[Event]) -> list[str]:
    return [one.change for one in events if isinstance(one, CampaignAssessed)]


def test_complaints_hold_a_campaign_and_a_repeat_is_known() -> None:
    fold = OutcomeFold(LearningConfig(baseline(), is_enforced=True))
    assert changes(fold.apply(opened(), 0)) == ["started"]
    assert changes(fold.apply(counted(1, 300, complaints=3), 1)) == []
    assert changes(fold.apply(counted(1, 300, complaints=3), 2)) == []
    assert fold.current(CAMPAIGN) == (300, 3.0, 0.0)
    [held, *_] = fold.apply(counted(2, 300, complaints=3), 3)
    assert isinstance(held, CampaignAssessed)
    assert (held.change, held.version, held.enforced) == ("held", 4, True)


def test_a_stored_state_goes_on_as_if_nothing_had_been() -> None:
    records = [opened(), *(counted(number, 100) for number in range(1, 20))]
    whole = OutcomeFold(LearningConfig(baseline()))
    events = [event for offset, one in enumerate(records) for event in whole.apply(one, offset)]
    half = OutcomeFold(LearningConfig(baseline()))
    before = [event for offset, one in enumerate(records[:9]) for event in half.apply(one, offset)]
    successor = restore_or_start(LearningConfig(baseline()), half.snapshot())
    assert successor.next_offset == 9
    assert successor.apply(records[8], 9) == []  # a repeat, which the state knows
    after = [
        event
        for offset, one in enumerate(records)
        if offset >= successor.next_offset
        for event in successor.apply(one, offset)
    ]
    assert before + after == events
    assert successor.learner.state.digest() == whole.learner.state.digest()
    assert successor.snapshot() == whole.snapshot()


def test_a_state_of_other_code_is_learned_again() -> None:
    cut_off = OutcomeFold(LearningConfig(baseline())).snapshot()[:-1]
    for packed in (b"", b"\x00", b"\xff" * 40, cut_off):
        assert restore_or_start(LearningConfig(baseline()), packed).next_offset == 0


def test_the_first_allowance_is_that_of_the_settings() -> None:
    fold = OutcomeFold(LearningConfig(baseline(), ramp=CampaignRamp.of(60, 2.0)))
    [started] = fold.apply(opened(), 0)
    [paced] = fold.apply(counted(1, 40), 1)
    assert isinstance(started, CampaignAssessed)
    assert isinstance(paced, CampaignAssessed)
    assert started.allowed == paced.allowed == 60
    assert paced.next_allowed == 90
    assert paced.next_at.seconds == 1_790_000_003


def test_an_empty_outcome_changes_nothing() -> None:
    fold = OutcomeFold(LearningConfig(baseline()))
    broken = opened()
    broken.opened.entries = b"\x01"
    digest = fold.learner.state.digest()
    assert fold.apply(OutcomeRecorded(outcome_id="x"), 0) == fold.apply(broken, 1) == []
    assert fold.learner.state.digest() == digest
