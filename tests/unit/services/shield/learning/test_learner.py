"""Learning is a fold: the same facts, the same state; and what each fact leads to."""

import subprocess
import sys
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.shield.domain.learning import learner as module
from services.shield.domain.learning.campaign import HOUR_S
from services.shield.domain.learning.deltas import DeltaBounds
from services.shield.domain.learning.entries import PackedEntriesError, unpack_entries
from services.shield.domain.learning.facts import (
    AssessmentChange,
    CampaignAssessed,
    Decision,
    Fact,
    OutcomeKind,
    TimePassed,
    VersionPublished,
)
from services.shield.domain.learning.learner import Learner, complaints_teach
from services.shield.domain.learning.reports import DAY_S
from services.shield.domain.learning.state import LearnerStateError, restore
from services.shield.domain.learning.versions import unpack_version
from tests.unit.services.shield.learning.facts import (
    baseline,
    made,
    outcome,
    some_entries,
    started,
)
from tests.unit.services.shield.learning.replay import FACTS, folded, learner

ENTRIES = some_entries(1, 5, 9, 70_000)


def apply(target: Learner, *facts: Fact) -> list[Decision]:
    """Each at an offset of its own."""
    state = target.state
    return [each for fact in facts for each in target.apply([fact], state.progress.offset + 1)]


def assessed(decisions: Sequence[Decision]) -> list[CampaignAssessed]:
    return [each for each in decisions if isinstance(each, CampaignAssessed)]


def complaints(count: int, *, campaign_id: str = "c", at_s: float = 0.0) -> list[Fact]:
    kind = OutcomeKind.COMPLAINED
    return [
        outcome(kind, campaign_id=campaign_id, recipient=f"{campaign_id}{n}", at_s=at_s)
        for n in range(count)
    ]


@cache
def whole() -> tuple[str, list[Decision]]:
    """Digest and decisions of the history, applied at once."""
    target = learner()
    decisions = folded(target, FACTS)
    return target.state.digest(), decisions


def test_the_history_is_worth_replaying() -> None:
    changes = {each.change for each in assessed(whole()[1])}
    assert changes == set(AssessmentChange)
    assert any(isinstance(each, VersionPublished) for each in whole()[1])


@settings(max_examples=4, deadline=None)
@given(cut=st.integers(0, len(FACTS) - 1))
def test_a_replay_that_is_stored_anywhere_gives_the_same(cut: int) -> None:
    target = learner()
    before = folded(target, FACTS[:cut])
    again = Learner(baseline(), restore(target.state.snapshot(), target.state.deltas.bounds))
    assert again.state.digest() == target.state.digest()
    assert (again.state.digest(), before) != whole()
    after = folded(again, FACTS[cut:])
    assert (again.state.digest(), [*before, *after]) == whole()


def test_another_process_gives_the_same() -> None:
    """With other hashes of strings, on which sets and dictionaries rest."""
    code = (
        "from tests.unit.services.shield.learning.replay import *\n"
        "target = learner(); folded(target, FACTS); print(target.state.digest())"
    )
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == whole()[0]


def test_facts_that_come_again_change_nothing() -> None:
    target = learner()
    folded(target, FACTS[:60])
    digest = target.state.digest()
    assert [each for at, facts in enumerate(FACTS[:60]) for each in target.apply(facts, at)] == []
    assert target.state.digest() == digest


def test_other_facts_give_another_digest() -> None:
    digests = set()
    for records in (FACTS[:60], [*FACTS[:57], FACTS[59]]):
        target = learner()
        folded(target, records)
        digests.add(target.state.digest())
    assert len(digests) == 2


def test_a_damaged_state_is_refused() -> None:
    bounds = DeltaBounds.of(baseline().points_per_margin)
    packed = learner().state.snapshot()
    flipped = packed[:90] + bytes([packed[90] ^ 1]) + packed[91:]
    for damaged in (b"", packed[:-1], b"x" + packed[1:], flipped):
        with pytest.raises(LearnerStateError):
            restore(damaged, bounds)


def test_abuse_is_held_and_raises_the_score_of_mail_like_it() -> None:
    target = learner()
    apply(target, started(entries=ENTRIES), *complaints(6))
    assert target.state.campaigns["c"].aggregate.change is AssessmentChange.HELD
    assert target.state.deltas.shift(unpack_entries(ENTRIES)) > 0


def test_what_is_held_teaches_nothing_but_by_a_review() -> None:
    target = learner()
    apply(target, started(entries=ENTRIES), *complaints(6))
    before = target.state.deltas.table.copy()
    apply(target, outcome(OutcomeKind.DELIVERED, count=100_000), *complaints(9, at_s=DAY_S))
    assert (target.state.deltas.table == before).all()
    [event] = assessed(apply(target, outcome(OutcomeKind.REVIEWED_GOOD)))
    assert (event.change, event.reviewed) == (AssessmentChange.RELEASED, True)
    assert target.state.deltas.shift(unpack_entries(ENTRIES)) < 0.3


def test_mail_that_nobody_has_sent_teaches_nothing() -> None:
    """Held when it was screened: neither deliveries nor complaints."""
    target = learner()
    decisions = apply(target, started(entries=ENTRIES, margin=4.0), TimePassed(10 * DAY_S))
    assert [each.change for each in assessed(decisions)] == [AssessmentChange.STARTED]
    assert not target.state.deltas.table.any()


@pytest.mark.parametrize(
    ("kind", "sign"), [(OutcomeKind.REVIEWED_BAD, 1), (OutcomeKind.REVIEWED_GOOD, -1)]
)
def test_a_review_of_held_mail_teaches_once(kind: OutcomeKind, sign: int) -> None:
    target = learner()
    apply(target, started(entries=ENTRIES), outcome(kind))
    shift = target.state.deltas.shift(unpack_entries(ENTRIES))
    assert shift * sign > 0
    apply(target, *[outcome(kind)] * 50)
    assert target.state.deltas.shift(unpack_entries(ENTRIES)) == shift


def test_complaints_about_mail_that_is_good_beyond_doubt_teach_nothing() -> None:
    """They may be false: they hold it until somebody has looked."""
    target = learner()
    good = started(entries=ENTRIES, margin=-7.0)
    apply(target, good, *complaints(9))
    assert target.state.campaigns["c"].aggregate.change is AssessmentChange.HELD
    assert not target.state.deltas.table.any()
    apply(target, outcome(OutcomeKind.REVIEWED_BAD))
    assert target.state.deltas.shift(unpack_entries(ENTRIES)) > 0
    record = target.state.tenant("t")
    assert (record.held, record.released) == (1, 0)


def test_the_better_mail_looks_the_less_complaints_teach() -> None:
    taught = [complaints_teach(margin) for margin in (5.0, 0.0, -2.0, -3.0, -4.0, -9.0)]
    assert taught == pytest.approx([3, 3, 2, 1, 0, 0], abs=0.01)


def test_complaints_that_leave_a_doubt_teach_no_more_than_those_that_hold() -> None:
    target = learner()
    good = started(entries=ENTRIES, margin=-7.0)
    doubt = [*complaints(6), outcome(OutcomeKind.DELIVERED, count=1_000)]
    apply(target, good, *doubt[:3], doubt[-1], *doubt[3:-1], TimePassed(3 * DAY_S + 1))
    assert target.state.ended["c"].learned is AssessmentChange.PACED
    assert not target.state.deltas.table.any()


def test_good_mail_that_never_used_its_first_step_teaches_when_it_ends() -> None:
    target = learner()
    apply(target, started(entries=ENTRIES), outcome(OutcomeKind.DELIVERED, count=1_500))
    assert not target.state.deltas.table.any()
    [event] = assessed(apply(target, TimePassed(3 * DAY_S + 1)))
    assert event.change is AssessmentChange.RELEASED
    assert target.state.deltas.shift(unpack_entries(ENTRIES)) < 0


def test_a_campaign_that_has_ended_goes_on_where_it_was() -> None:
    target = learner()
    apply(target, started(), outcome(OutcomeKind.DELIVERED, count=900), TimePassed(3 * DAY_S + 1))
    assert list(target.state.ended) == ["c"]
    assert apply(target, started()) == []
    apply(target, outcome(OutcomeKind.DELIVERED, at_s=4 * DAY_S, count=100))
    assert target.state.campaigns["c"].aggregate.delivered == 1_000
    apply(target, TimePassed(8 * DAY_S), TimePassed(40 * DAY_S))
    assert not target.state.campaigns
    assert not target.state.ended


def test_outcomes_of_unknown_campaigns_are_ignored() -> None:
    target = learner()
    assert apply(target, outcome(OutcomeKind.COMPLAINED), outcome(OutcomeKind.REVIEWED_BAD)) == []


def test_a_record_gives_one_event_per_campaign() -> None:
    target = learner()
    facts = [started(), outcome(OutcomeKind.DELIVERED, count=1_000), *complaints(9)]
    [event] = assessed(target.apply(facts, 0))
    assert event.change is AssessmentChange.HELD


def test_entries_that_are_none_change_nothing() -> None:
    target = learner()
    before = target.state.digest()
    with pytest.raises(PackedEntriesError):
        target.apply([started("a"), started("b", entries=b"\1")], 7)
    assert target.state.digest() == before


def test_memory_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAMPAIGNS_MAX", 50)
    target = learner()
    apply(target, *(started(f"c{n}", traces=(f"links:{n}",)) for n in range(300)))
    assert len(target.state.campaigns) == 50
    assert len(target.state.ended) == 50
    assert list(target.state.campaigns)[-1] == "c299"


def test_a_trace_of_held_campaigns_makes_others_suspect() -> None:
    target = learner()
    trace = ("contact:1",)
    for tenant_id in ("a", "b", "c"):
        [event] = assessed(apply(target, started(tenant_id, tenant_id=tenant_id, traces=trace)))
        apply(target, outcome(OutcomeKind.REVIEWED_BAD, campaign_id=tenant_id, tenant_id=tenant_id))
    assert event.evidence == 2
    [event] = assessed(apply(target, started("d", traces=trace)))
    assert event.evidence == 2
    apply(target, outcome(OutcomeKind.REVIEWED_GOOD, campaign_id="d"))
    [event] = assessed(apply(target, started("e", tenant_id="new", traces=trace)))
    assert event.evidence == 0


def test_a_tenant_with_good_mail_is_trusted() -> None:
    target = learner()
    for number in range(6):
        campaign_id = f"c{number}"
        sent = outcome(OutcomeKind.DELIVERED, campaign_id=campaign_id, count=5_000)
        later = outcome(OutcomeKind.DELIVERED, campaign_id=campaign_id, at_s=5 * HOUR_S)
        apply(target, started(campaign_id), sent, later)
    [event] = assessed(apply(target, started("next")))
    assert (event.allowed, event.evidence) == (10_000, -3)
    [event] = assessed(apply(target, started("other", tenant_id="stranger")))
    assert (event.allowed, event.evidence) == (2_000, 0)


def test_a_version_is_published_and_raises_scores() -> None:
    target = learner()
    bad = [each for each in made() if each[0]]
    [_, margin, entries] = bad[0]
    packed = baseline().model
    decisions: list[Decision] = []
    for number in range(3):
        fact = started(f"c{number}", tenant_id=f"t{number}", margin=-1.0,
                       entries=some_entries(*entries.tolist()))  # fmt: skip
        decisions += apply(
            target, fact, outcome(OutcomeKind.REVIEWED_BAD, campaign_id=fact.campaign_id,
                                  tenant_id=fact.tenant_id, at_s=DAY_S),
        )  # fmt: skip
    decisions += apply(target, TimePassed(3 * DAY_S))
    published = [each for each in decisions if isinstance(each, VersionPublished)]
    version = unpack_version(published[-1].packed, packed)
    assert version.version == published[-1].version
    assert version.version.startswith(packed + "+")
    assert (version.hold, version.block) == (published[-1].hold, published[-1].block)
    assert published[-1].campaigns == 3
    static = 5 + (margin - baseline().hold) * baseline().points_per_margin
    assert version.points(margin, entries) > static


def test_a_version_that_is_worse_on_the_canaries_is_not_published() -> None:
    """Good canaries, taken for abuse by reviewers of many tenants."""
    target = learner()
    canaries = baseline().canaries
    decisions: list[Decision] = []
    for number, entries in enumerate(canaries.entries):
        if not canaries.bad[number]:
            for tenant in range(3):
                name = f"{number}/{tenant}"
                fact = started(name, tenant_id=name, entries=some_entries(*entries.tolist()))
                review = outcome(OutcomeKind.REVIEWED_BAD, campaign_id=name, tenant_id=name)
                decisions += apply(target, fact, review)
    decisions += apply(target, TimePassed(DAY_S))
    published = [each for each in decisions if isinstance(each, VersionPublished)]
    assert target.state.progress.published >= 800
    assert published == [] or published[-1].campaigns <= 400
