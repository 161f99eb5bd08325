"""A version of what was learned scores beside the live one before it is used, and a person may
decide earlier, or otherwise. All of it follows from the facts."""

from collections.abc import Sequence

import pytest

from services.shield.domain.learning.facts import (
    Decision,
    Fact,
    OutcomeKind,
    TimePassed,
    VersionChanged,
    VersionPublished,
    VersionReviewed,
)
from services.shield.domain.learning.learner import Learner
from services.shield.domain.learning.reports import DAY_S
from services.shield.domain.learning.rollout import PREVIOUS_MAX, RolloutPlan, VersionRollout
from services.shield.domain.learning.state import restore
from tests.unit.services.shield.learning.facts import baseline, outcome, some_entries, started

WATCHES = RolloutPlan(promotes=False)


def learner(plan: RolloutPlan = RolloutPlan()) -> Learner:  # noqa: B008 - immutable
    return Learner(baseline(), plan=plan)


def apply(target: Learner, *facts: Fact) -> list[Decision]:
    """Each at an offset of its own."""
    progress = target.state.progress
    return [each for fact in facts for each in target.apply([fact], progress.offset + 1)]


def lesson(number: int, at_s: float) -> list[Fact]:
    """A reviewer rejects mail of a campaign: something was learned."""
    of = {"campaign_id": f"c{number}", "tenant_id": f"t{number}", "at_s": at_s}
    entries = some_entries(*range(number, number + 40))
    return [started(**of, entries=entries), outcome(OutcomeKind.REVIEWED_BAD, **of)]  # type: ignore[arg-type]


def days(first: int, last: int) -> list[Fact]:
    """Something was learned each day."""
    return [fact for day in range(first, last) for fact in lesson(day, day * DAY_S)]


def review(version: str, *, promotes: bool, at_s: float) -> VersionReviewed:
    return VersionReviewed(version, promotes, "key_1", "because", at_s)


def published(decisions: Sequence[Decision]) -> list[str]:
    return [one.version for one in decisions if isinstance(one, VersionPublished)]


def changed(decisions: Sequence[Decision]) -> list[tuple[str, str]]:
    return [(one.change, one.version) for one in decisions if isinstance(one, VersionChanged)]


def test_a_version_is_used_after_a_day_beside_the_live_one_and_the_next_one_follows() -> None:
    target = learner()
    decisions = apply(target, *days(1, 3))
    [first] = published(decisions)
    assert changed(decisions) == []
    rollout = target.state.rollout
    assert (rollout.live, rollout.shadow) == ("", first)
    assert apply(target, TimePassed(3 * DAY_S - 1)) == []
    _, promotion, publication, _ = apply(target, *days(3, 4))
    assert isinstance(promotion, VersionChanged)
    assert (promotion.change, promotion.version) == ("promoted", first)
    assert (promotion.live, promotion.shadow, promotion.review) == (first, "", None)
    assert isinstance(publication, VersionPublished)
    assert (rollout.live, rollout.shadow) == (first, publication.version)


def test_nothing_is_published_while_a_version_is_compared() -> None:
    target = learner(RolloutPlan(shadow_s=5 * DAY_S))
    decisions = apply(target, *days(1, 9))
    assert len(published(decisions)) == 2  # on the second day, and on the seventh


def test_while_learning_only_watches_a_version_gives_way_to_the_next_one() -> None:
    target = learner(WATCHES)
    decisions = apply(target, *days(1, 5))
    assert changed(decisions) == []
    assert len(published(decisions)) == 3
    assert target.state.rollout == VersionRollout("", published(decisions)[-1], 4 * DAY_S)


def test_who_has_watched_long_enough_uses_the_version_at_once() -> None:
    target = learner(WATCHES)
    apply(target, *days(1, 3))
    enforced = Learner(baseline(), target.state, plan=RolloutPlan())
    [promoted] = changed(apply(enforced, TimePassed(4 * DAY_S)))
    assert promoted == ("promoted", target.state.rollout.live)


def test_a_person_promotes_a_version_early() -> None:
    target = learner()
    [version] = published(apply(target, *days(1, 3)))
    early = review(version, promotes=True, at_s=2 * DAY_S + 60)
    [change] = apply(target, early)
    assert isinstance(change, VersionChanged)
    assert (change.live, change.shadow, change.at_s) == (version, "", early.occurred_at_s)
    assert change.review == early
    again = apply(target, early)
    assert again == []  # it is live already


def test_who_withdraws_a_version_goes_back_to_the_one_before() -> None:
    target = learner()
    first, second, third = published(apply(target, *days(1, 5)))
    assert (target.state.rollout.live, target.state.rollout.shadow) == (second, third)
    at_s = 4 * DAY_S + 60
    for version, live, shadow in ((second, first, third), (third, first, ""), (first, "", "")):
        [change] = apply(target, review(version, promotes=False, at_s=at_s))
        assert isinstance(change, VersionChanged)
        assert (change.change, change.version) == ("withdrawn", version)
        assert (change.live, change.shadow) == (live, shadow)


@pytest.mark.parametrize("promotes", [True, False])
def test_a_review_that_comes_too_late_changes_nothing(promotes: bool) -> None:
    target = learner()
    apply(target, *days(1, 5))
    before = target.state.rollout.dump()
    unknown = review("1-00000000+11111111", promotes=promotes, at_s=4 * DAY_S + 60)
    assert apply(target, unknown) == []
    assert target.state.rollout.dump() == before


def test_a_withdrawn_version_is_not_promoted_by_time() -> None:
    target = learner()
    [version] = published(apply(target, *days(1, 3)))
    apply(target, review(version, promotes=False, at_s=2 * DAY_S + 60))
    assert changed(apply(target, TimePassed(9 * DAY_S))) == []


def test_what_is_in_use_survives_a_restart_and_decides_the_digest() -> None:
    whole, half = learner(), learner()
    facts = days(1, 6)
    decisions = apply(whole, *facts)
    before = apply(half, *facts[:5])
    again = Learner(baseline(), restore(half.state.snapshot(), half.state.deltas.bounds))
    assert again.state.rollout == half.state.rollout
    assert again.state.rollout.shadow
    assert [*before, *apply(again, *facts[5:])] == decisions
    assert again.state.digest() == whole.state.digest()
    again.state.rollout.shadow = ""
    assert again.state.digest() != whole.state.digest()


def test_versions_of_another_model_are_forgotten() -> None:
    model, other = baseline().model, "1-00000000"
    rollout = VersionRollout(f"{other}+a", f"{model}+b", 1.0, [f"{other}+c", f"{model}+d"])
    rollout.drop_others(model)
    assert rollout == VersionRollout("", f"{model}+b", 1.0, [f"{model}+d"])


def test_few_versions_are_kept_to_go_back_to() -> None:
    rollout = VersionRollout()
    for number in range(9):
        rollout.publish(f"m+{number}", 0.0)
        rollout.promote(f"m+{number}")
    assert rollout.previous == ["m+5", "m+6", "m+7"]
    assert len(rollout.usable) == PREVIOUS_MAX + 1
