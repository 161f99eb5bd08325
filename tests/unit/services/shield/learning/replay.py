"""A recorded history, and learning from it."""

from collections.abc import Sequence

from services.shield.domain.learning.facts import Decision, Fact
from services.shield.domain.learning.learner import Learner
from tests.unit.services.shield.learning.facts import baseline, history

FACTS: Sequence[list[Fact]] = list(history(1, campaigns=35))


def learner() -> Learner:
    return Learner(baseline())


def folded(target: Learner, records: Sequence[list[Fact]]) -> list[Decision]:
    first = target.state.progress.offset + 1
    return [each for at, facts in enumerate(records, first) for each in target.apply(facts, at)]
