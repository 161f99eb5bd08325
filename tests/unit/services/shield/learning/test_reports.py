"""Whoever wants to harm a sender reports its mail, too: how much each report counts."""

import pytest

from services.shield.domain.learning import reports as module
from services.shield.domain.learning.facts import OutcomeKind
from services.shield.domain.learning.reports import DAY_S, FULL, LITTLE, NOTHING, ReporterCounts
from tests.unit.services.shield.learning.facts import outcome

COMPLAINED = OutcomeKind.COMPLAINED


def weights(
    *at: str, reports: ReporterCounts | None = None, day: int = 0, large: bool = False
) -> list[int]:
    target = reports or ReporterCounts()
    return [
        target.weight(
            outcome(
                COMPLAINED,
                recipient=each,
                domain=each.partition("@")[2],
                large=large,
                at_s=day * DAY_S,
            )
        )
        for each in at
    ]


def test_a_recipient_counts_once_a_day() -> None:
    reports = ReporterCounts()
    assert weights("a@x.example", "a@x.example", reports=reports) == [FULL, NOTHING]
    assert weights("a@x.example", reports=reports, day=1) == [FULL]


def test_an_unsubscribe_before_does_not_hide_a_complaint() -> None:
    reports = ReporterCounts()
    assert reports.weight(outcome(OutcomeKind.UNSUBSCRIBED, recipient="a")) == FULL
    assert reports.weight(outcome(COMPLAINED, recipient="a")) == FULL


def test_a_small_domain_counts_once_a_day() -> None:
    assert weights("a@x.example", "b@x.example", "c@y.example") == [FULL, LITTLE, FULL]


def test_each_recipient_of_a_large_provider_counts() -> None:
    assert weights("a@x.example", "b@x.example", large=True) == [FULL, FULL]


def test_who_reports_again_and_again_counts_little() -> None:
    reports = ReporterCounts()
    found = [weights("a@x.example", reports=reports, day=day, large=True)[0] for day in range(5)]
    assert found == [FULL, FULL, FULL, LITTLE, LITTLE]


def test_blocks_count_only_at_large_providers() -> None:
    reports = ReporterCounts()
    blocked = OutcomeKind.SPAM_BLOCKED
    assert reports.weight(outcome(blocked, large=True)) == FULL
    assert reports.weight(outcome(blocked, large=False)) == NOTHING


def test_memory_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTED_MAX", 4)
    monkeypatch.setattr(module, "REPORTERS_MAX", 3)
    reports = ReporterCounts()
    found = weights(*(f"{n}@x{n}.example" for n in range(9)), reports=reports)
    assert found == [FULL] + [LITTLE] * 8
    assert (len(reports.counted), len(reports.reporters)) == (4, 3)
    again = ReporterCounts()
    again.load(reports.dump())
    assert again.dump() == reports.dump()
