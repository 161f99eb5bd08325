"""Tenants whose mail bounces or annoys are warned, then paused: broadcasts first."""

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_DELIVERED as DELIVERED
from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_PERMANENT as PERMANENT
from contracts.router.v1.results_pb2 import RESULT_KIND_COMPLAINT
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.reasons import WaitReason
from services.router.domain.results import ObservedResult
from services.router.domain.standings import (
    ReputationPolicy,
    Standing,
    StandingChanged,
    StandingController,
    Subject,
    SubjectKind,
)

HOUR_S = 3600.0
TENANT = Subject(SubjectKind.TENANT, "tenant")


def make_reputation(
    policy: ReputationPolicy = ReputationPolicy.STANDARD, subjects_max: int = 1000
) -> StandingController:
    return StandingController(
        reports_complaints=lambda site: site == "yahoo",
        policy_of=lambda _: policy,
        subjects_max=subjects_max,
    )


def sent(
    delivered: int,
    bounced: int = 0,
    *,
    at_s: float = 0.0,
    site: str = "yahoo",
    tenant: str = "tenant",
) -> list[ObservedResult]:
    good = ObservedResult(
        tenant, site, "ip", "mx", at_s, at_s, connected=True, outcome=DELIVERED, count=delivered
    )
    bad = good._replace(outcome=PERMANENT, bounce_class="invalid_recipient", count=bounced)
    return [each for each in (good, bad) if each.count]


def of_tenant(events: list[StandingChanged]) -> list[tuple[Standing, str]]:
    return [(e.standing, e.reason) for e in events if e.subject == TENANT]


def test_ten_percent_of_a_thousand_bounces_pause_broadcasts() -> None:
    reputation = make_reputation()
    assert of_tenant(reputation.record(sent(899, 100))) == []
    assert of_tenant(reputation.record(sent(1))) == [(Standing.BROADCASTS_PAUSED, "bounces")]
    assert not reputation.may_broadcast("tenant")
    assert reputation.suspension_of(LimitScope(ScopeKind.TENANT, "tenant"), 0.0) is None


def test_everything_is_paused_if_the_next_thousand_are_no_better() -> None:
    reputation = make_reputation()
    reputation.record(sent(850, 150))
    assert of_tenant(reputation.record(sent(850, 150, at_s=HOUR_S))) == [
        (Standing.PAUSED, "bounces")
    ]
    suspension = reputation.suspension_of(LimitScope(ScopeKind.TENANT, "tenant"), HOUR_S)
    assert suspension
    assert suspension.reason is WaitReason.REPUTATION


def test_five_percent_only_warn_and_the_warning_ends_with_better_mail() -> None:
    reputation = make_reputation()
    assert of_tenant(reputation.record(sent(950, 50))) == [(Standing.WARNED, "bounces")]
    assert of_tenant(reputation.record(sent(1_000, 1, at_s=HOUR_S))) == [
        (Standing.GOOD, "recovered")
    ]


def test_complaints_count_against_mail_to_sites_that_report_them() -> None:
    reputation = make_reputation()
    reputation.record(sent(100_000, site="google"))
    reputation.record(sent(1_000))
    events = reputation.record_complaints(1, 10.0, tenant_id="tenant")
    assert of_tenant(events) == [(Standing.WARNED, "complaints")]
    events = reputation.record_complaints(4, 20.0, tenant_id="tenant")
    assert of_tenant(events) == [(Standing.BROADCASTS_PAUSED, "complaints")]


def test_a_few_complaints_about_a_thousand_of_many_messages_are_chance() -> None:
    reputation = make_reputation()
    for hour in range(12):
        reputation.record(sent(1_000, at_s=hour * HOUR_S))
    events = reputation.record_complaints(6, 11 * HOUR_S, tenant_id="tenant")
    assert of_tenant(events) == []


def test_twenty_complaints_about_a_thousand_of_many_messages_are_not() -> None:
    reputation = make_reputation()
    for hour in range(12):
        reputation.record(sent(10_000, at_s=hour * HOUR_S))
    reputation.record(sent(1_000, at_s=12 * HOUR_S))
    events = reputation.record_complaints(20, 12 * HOUR_S, tenant_id="tenant")
    assert of_tenant(events) == [(Standing.BROADCASTS_PAUSED, "complaints")]


def test_a_complaint_counts_against_the_hour_in_which_its_message_was_sent() -> None:
    reputation = make_reputation()
    reputation.record(sent(100_000))
    reputation.record(sent(1_000, at_s=5 * HOUR_S))
    complaint = sent(1)[0]._replace(kind=RESULT_KIND_COMPLAINT, count=50, answered_s=6 * HOUR_S)
    assert of_tenant(reputation.record([complaint])) == []
    late = complaint._replace(assigned_s=5 * HOUR_S)
    assert of_tenant(reputation.record([late])) == [(Standing.BROADCASTS_PAUSED, "complaints")]


def test_a_complaint_about_a_message_before_the_operator_resumed_its_tenant_no_longer_counts() -> (
    None
):
    reputation = make_reputation()
    reputation.record(sent(500, 500))
    reputation.resume("tenant", 5 * HOUR_S)
    reputation.record(sent(1_000, at_s=5 * HOUR_S))
    assert of_tenant(reputation.record_complaints(20, 0.0, tenant_id="tenant")) == []


def test_a_bad_campaign_counts_although_months_of_good_mail_came_before() -> None:
    reputation = make_reputation()
    for hour in range(100):
        reputation.record(sent(10_000, at_s=hour * HOUR_S))
    events = reputation.record(sent(880, 120, at_s=100 * HOUR_S))
    assert of_tenant(events) == [(Standing.BROADCASTS_PAUSED, "bounces")]


def test_bounces_of_last_week_are_forgotten() -> None:
    reputation = make_reputation()
    reputation.record(sent(400, 100))
    events = reputation.record(sent(600, 0, at_s=8 * 24 * HOUR_S))
    assert of_tenant(events) == []


def test_the_strict_policy_pauses_at_a_warning_and_none_never() -> None:
    strict = make_reputation(ReputationPolicy.STRICT)
    assert of_tenant(strict.record(sent(950, 50))) == [(Standing.BROADCASTS_PAUSED, "bounces")]
    none = make_reputation(ReputationPolicy.NONE)
    assert of_tenant(none.record(sent(500, 500))) == [(Standing.WARNED, "bounces")]
    assert none.may_broadcast("tenant")


def test_an_operator_resumes_a_tenant_and_the_past_no_longer_counts() -> None:
    reputation = make_reputation()
    reputation.record(sent(500, 500))
    reputation.record(sent(500, 500))
    reputation.resume("tenant", 5.0)
    assert reputation.may_broadcast("tenant")
    assert reputation.suspension_of(LimitScope(ScopeKind.TENANT, "tenant"), 5.0) is None
    assert of_tenant(reputation.record(sent(900, 50))) == []


def test_sources_and_domains_are_warned_about_and_never_paused() -> None:
    reputation = make_reputation()
    reputation.record(one._replace(domain_id="example.com") for one in sent(500, 500))
    for subject in (
        Subject(SubjectKind.EGRESS, "ip"),
        Subject(SubjectKind.DOMAIN, "example.com"),
    ):
        assert reputation.standing_of(subject) is Standing.WARNED
    assert reputation.suspension_of(LimitScope(ScopeKind.WARMUP, "ip"), 0.0) is None


def test_memory_is_bounded_and_paused_tenants_are_never_forgotten() -> None:
    reputation = make_reputation(subjects_max=50)
    reputation.record(sent(500, 500, tenant="bad"))
    reputation.record(sent(500, 500, tenant="bad"))
    for number in range(300):
        reputation.record(sent(1, tenant=f"t{number}"))
    assert len(reputation._records) <= 50
    assert reputation.suspension_of(LimitScope(ScopeKind.TENANT, "bad"), 0.0)
