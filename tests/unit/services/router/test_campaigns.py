"""How much of a campaign may leave follows from its latest assessment; what becomes of its mail is
counted."""

import pytest

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_PERMANENT,
    ATTEMPT_OUTCOME_TEMPORARY,
    AttemptOutcome,
    ComplaintReceived,
    DeliveryAttempted,
)
from contracts.shield.v1.learning_pb2 import (
    CAMPAIGN_OUTCOME_KIND_BLOCKED,
    CAMPAIGN_OUTCOME_KIND_COMPLAINED,
    CAMPAIGN_OUTCOME_KIND_DELIVERED,
    CampaignAssessed,
)
from services.router.domain.campaigns import CampaignAssessments, count_attempts, count_report
from services.router.domain.events import timestamp
from services.router.domain.ledger import Ledger, LimitScope, ScopeKind
from services.router.domain.policies import CombinedPolicies
from services.router.domain.results import LastAssignment

NOW_S = 1_790_000_000.0
FIRST = 2_000
SCOPE = LimitScope(ScopeKind.CAMPAIGN, "c1")


def assessed(version: int, change: str, allowed: int, **extra: int | bool) -> CampaignAssessed:
    given = {"delivered": 1_500, "enforced": True, **extra}
    return CampaignAssessed(
        campaign_id="c1", version=version, change=change, allowed=allowed,
        delivered=int(given["delivered"]), enforced=bool(given["enforced"]),
    )  # fmt: skip


def allowance(campaigns: CampaignAssessments, now_s: float = NOW_S) -> int:
    return campaigns.limits_of(SCOPE, now_s).allowance


def test_a_campaign_without_an_assessment_has_the_first_allowance() -> None:
    assert allowance(CampaignAssessments(FIRST)) == FIRST


def test_the_latest_assessment_counts_in_any_order() -> None:
    campaigns = CampaignAssessments(FIRST)
    assert campaigns.apply(assessed(5, "paced", 4_000))
    assert not campaigns.apply(assessed(4, "held", 2_000))
    assert not campaigns.apply(assessed(5, "paced", 4_000))
    assert allowance(campaigns) == 4_000
    assert campaigns.held("c1") is None
    assert campaigns.apply(assessed(6, "held", 4_000))
    assert allowance(campaigns) == 0
    assert campaigns.held("c1") is not None
    assert campaigns.apply(assessed(7, "released", 0))
    assert allowance(campaigns) == 0
    assert campaigns.held("c1") is None


def test_an_allowance_grows_by_time_without_another_event() -> None:
    campaigns, event = CampaignAssessments(FIRST), assessed(1, "paced", 2_000)
    event.next_allowed = 3_000
    event.next_at.CopyFrom(timestamp(NOW_S + 60))
    campaigns.apply(event)
    assert [allowance(campaigns, NOW_S + after_s) for after_s in (59, 60)] == [2_000, 3_000]


@pytest.mark.parametrize(
    "event",
    [
        assessed(1, "held", 2_000, enforced=False),
        assessed(1, "started", FIRST, delivered=0),
        assessed(1, "released", 0, delivered=40),
    ],
)
def test_what_changes_nothing_is_not_kept(event: CampaignAssessed) -> None:
    campaigns = CampaignAssessments(FIRST)
    assert not campaigns.apply(event)
    assert allowance(campaigns) == FIRST


def test_the_ledger_counts_an_allowance_in_all() -> None:
    ledger = Ledger(CombinedPolicies([CampaignAssessments(10)]))
    assert ledger.reserve([SCOPE], 8, now_s=NOW_S, partial=True) == 8
    later_s = NOW_S + 20 * 86_400
    assert ledger.reserve([SCOPE], 8, now_s=later_s, partial=True) == 2
    blocked = ledger.capacity(SCOPE, now_s=later_s)
    assert (blocked.available, blocked.limited_by) == (0, "allowance")
    ledger.refund([SCOPE], 3, spent_at_s=NOW_S, now_s=later_s)
    assert ledger.capacity(SCOPE, now_s=later_s).available == 3


def attempted(
    number: int, outcome: AttemptOutcome.ValueType, bounce_class: str = "", **extra: bool
) -> DeliveryAttempted:
    return DeliveryAttempted(
        message_id=f"m{number}", attempt=1, tenant_id="t1", campaign_id="c1" if number else "",
        outcome=outcome, bounce_class=bounce_class, test=extra.get("test", False),
    )  # fmt: skip


def test_attempts_are_counted_by_campaign() -> None:
    [event] = count_attempts(
        [
            attempted(0, ATTEMPT_OUTCOME_DELIVERED),  # in no campaign
            attempted(1, ATTEMPT_OUTCOME_DELIVERED),
            attempted(2, ATTEMPT_OUTCOME_DELIVERED),
            attempted(3, ATTEMPT_OUTCOME_DELIVERED, test=True),
            attempted(4, ATTEMPT_OUTCOME_PERMANENT, "spam_block"),
            attempted(5, ATTEMPT_OUTCOME_TEMPORARY, "spam_block"),  # it is tried again
            attempted(6, ATTEMPT_OUTCOME_PERMANENT, "invalid_recipient"),
        ]
    )
    assert event.first == "m1/1"
    assert {(one.campaign_id, one.kind, one.count) for one in event.outcomes} == {
        ("c1", CAMPAIGN_OUTCOME_KIND_DELIVERED, 2),
        ("c1", CAMPAIGN_OUTCOME_KIND_BLOCKED, 1),
    }
    assert count_attempts([attempted(0, ATTEMPT_OUTCOME_DELIVERED)]) == []


def test_a_complaint_names_no_address() -> None:
    complaint = ComplaintReceived(message_id="m1", tenant_id="t1", recipient="ann@example.com")
    sent = LastAssignment("m1", "t1/google", "e1", campaign_id="c1")
    [event] = count_report(complaint, sent, b"hash")
    [outcome] = event.outcomes
    assert outcome.kind == CAMPAIGN_OUTCOME_KIND_COMPLAINED
    assert (outcome.recipient, outcome.domain, outcome.large_mailbox) == (
        b"hash", "example.com", True,
    )  # fmt: skip
    assert count_report(complaint, sent._replace(campaign_id=""), b"hash") == []
