"""Decisions about limits, as the scheduler saves them and as another scheduler loads them."""

from dataclasses import replace
from importlib.resources import files
from itertools import count

import pytest

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_PERMANENT,
    ATTEMPT_OUTCOME_TEMPORARY,
)
from contracts.ingest.v1.directory_pb2 import REPUTATION_POLICY_STRICT, Tenant
from contracts.router.v1 import policies_pb2 as pb
from contracts.router.v1.results_pb2 import (
    RESULT_KIND_ATTEMPT,
    RESULT_KIND_BOUNCE,
    RESULT_KIND_COMPLAINT,
    Result,
)
from kernel.table import ReplicatedTable
from services.router.domain.egress import EgressSource
from services.router.domain.events import timestamp
from services.router.domain.feedback_rules import parse_feedback_rules
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.policies import DEFAULT_POOL, TenantDirectory, egress_site_scope
from services.router.domain.policy_engine import COUNTS_MAX, AdaptivePolicies, AdaptivePolicyRules
from services.router.domain.ramps import Ramp
from services.router.domain.reasons import WaitReason
from services.router.domain.standings import ReputationPolicy, Standing, Subject, SubjectKind
from services.router.domain.warmup import DAY_S
from tests.support.memory_cell import NOW_S, TENANT, PolicyRows, due_message, memory_cell

RAMP = Ramp("test", "day", (20, 50, 100), "the test")
FEEDBACK = (files("services.router") / "feedback.toml").read_text("utf-8")
RULES = AdaptivePolicyRules(
    ramps={"test": RAMP},
    feedback=parse_feedback_rules(FEEDBACK),
    big_sites=("google",),
    complaint_sites=("yahoo",),
)
BULK = LimitScope(ScopeKind.BROADCASTS, TENANT)
BLOCKED = "550 5.7.1 blocked"


class Saved(PolicyRows):
    def adaptive(self) -> AdaptivePolicies:
        """As another scheduler loads it."""
        policies = AdaptivePolicies(RULES)
        self.load(policies)
        return policies


def result(number: int, site: str = "site", *, at_s: float = NOW_S, **fields: object) -> Result:
    given = {
        "kind": RESULT_KIND_ATTEMPT,
        "outcome": ATTEMPT_OUTCOME_DELIVERED,
        "connected": True,
        "mx_host": f"mx.{site}",
        **fields,
    }
    return Result(
        queue_id=f"{TENANT}/{site}",
        egress_id="e1",
        count=number,
        assigned_at=timestamp(at_s - 1),
        answered_at=timestamp(at_s),
        **given,  # type: ignore[arg-type]
    )


def refused(number: int, site: str = "a.example", *, at_s: float = NOW_S) -> Result:
    return result(
        number,
        site,
        at_s=at_s,
        outcome=ATTEMPT_OUTCOME_TEMPORARY,
        bounce_class="spam_block",
        reply_text=BLOCKED,
    )


def invalid(number: int) -> Result:
    return result(number, outcome=ATTEMPT_OUTCOME_PERMANENT, bounce_class="invalid_recipient")


def warmup(action: str, **fields: object) -> pb.PolicyCommand:
    given: dict[str, object] = {"egress_id": "e1", "action": action, **fields}
    return pb.PolicyCommand(warmup=pb.WarmupCommand(**given))  # type: ignore[arg-type]


def started() -> AdaptivePolicies:
    policies = AdaptivePolicies(RULES)
    policies.observe([], [warmup("start", ramp="test")], now_s=NOW_S)
    return policies


def test_a_tenant_is_paused_by_its_own_policy_or_else_by_that_of_the_engine() -> None:
    cases = [(None, True), *((one, one == "strict") for one in ReputationPolicy)]
    for own, is_paused in cases:
        rules = replace(RULES, policy=ReputationPolicy.STRICT, policy_of={TENANT: own}.get)
        policies = AdaptivePolicies(rules)
        policies.observe([result(940), invalid(60)], now_s=NOW_S)  # 6 %: between the thresholds
        assert (policies.reputation.suspension_of(BULK, NOW_S) is not None) == is_paused


def test_a_domain_is_warned_about_before_it_costs_its_tenant_the_standing() -> None:
    policies, saved = AdaptivePolicies(RULES), Saved()
    bad = [result(900, domain_id="bad"), invalid(100)]
    bad[1].domain_id = "bad"
    policies.observe([result(9_000, domain_id="good"), *bad], now_s=NOW_S)
    saved.save(policies, NOW_S)
    for one in (policies, saved.adaptive()):
        found = [(each.subject, each.standing) for each in one.reputation.standings()]
        assert found == [(Subject(SubjectKind.DOMAIN, "bad"), Standing.WARNED)]
    assert policies.reputation.suspension_of(BULK, NOW_S) is None


def test_a_tenants_record_names_its_policy() -> None:
    records = ReplicatedTable(Tenant)
    strict = REPUTATION_POLICY_STRICT
    records.put(Tenant(tenant_id="strict", version=1, reputation_policy=strict))
    records.put(Tenant(tenant_id="default", version=1))
    directory = TenantDirectory(records)
    assert directory.reputation_policy_of("strict") is ReputationPolicy.STRICT
    assert directory.reputation_policy_of("default") is None
    assert directory.reputation_policy_of("unknown") is None


def test_a_warmup_goes_on_where_the_previous_scheduler_left_it() -> None:
    policies, saved = started(), Saved()
    policies.observe([result(20, "google")], now_s=NOW_S + 60)
    saved.save(policies, NOW_S + 60)
    loaded = saved.adaptive()
    for site in ("", "google"):
        assert loaded.warmups.state_of("e1", site) == policies.warmups.state_of("e1", site)
        assert loaded.warmups.facts_of("e1", site) == policies.warmups.facts_of("e1", site)
    assert loaded.observe([], now_s=NOW_S + DAY_S + 60)
    [whole, _] = loaded.warmups.states("e1")
    assert (whole.stage, whole.per_day) == (1, 50)


def test_every_state_survives_each_change_of_the_scheduler() -> None:
    """What is loaded decides as what was in memory would have."""
    kept, saved, clock = started(), Saved(), count()
    saved.save(kept, NOW_S)
    loaded = saved.adaptive()
    script = [
        [result(20)], [refused(30)], [], [result(30, "google"), refused(20, "google")],
        [invalid(10)], [result(50)], [], [refused(40, "google")], [result(90)],
    ]  # fmt: skip
    for results in script:
        now_s = NOW_S + next(clock) * DAY_S / 2 + 60
        for policies in (kept, loaded):
            policies.observe(results, now_s=now_s)
        kept_events = [event.SerializeToString() for event in kept.drain(now_s).events]
        before = len(saved.published)
        saved.save(loaded, now_s)
        assert [e.SerializeToString() for e in saved.published[before:]] == kept_events
        loaded = saved.adaptive()


def test_an_override_is_in_force_for_the_next_scheduler_and_its_removal_too() -> None:
    policies, saved = AdaptivePolicies(RULES), Saved()
    policies.observe([refused(9)], now_s=NOW_S)
    saved.save(policies, NOW_S)
    scope = egress_site_scope("e1", "a.example")
    loaded = saved.adaptive()
    suspension = loaded.feedback.suspension_of(scope, NOW_S + 1)
    assert suspension == policies.feedback.suspension_of(scope, NOW_S + 1)
    assert suspension
    assert suspension.reason is WaitReason.OVERRIDE
    [override] = loaded.feedback.overrides(NOW_S + 1)
    removal = pb.OverrideRemoved(override_id=override.override_id, removed_by="ann")
    assert loaded.observe([], [pb.PolicyCommand(remove_override=removal)], now_s=NOW_S + 2)
    saved.save(loaded, NOW_S + 2)
    assert saved.adaptive().feedback.suspension_of(scope, NOW_S + 3) is None


def test_a_paused_tenant_stays_paused_until_an_operator_resumes_it() -> None:
    policies, saved = AdaptivePolicies(RULES), Saved()
    policies.observe([result(800), invalid(200)], now_s=NOW_S)
    saved.save(policies, NOW_S)
    loaded = saved.adaptive()
    assert loaded.reputation.suspension_of(BULK, NOW_S)
    loaded.observe([result(800), invalid(200)], now_s=NOW_S + 60)
    tenant = LimitScope(ScopeKind.TENANT, TENANT)
    assert loaded.reputation.suspension_of(tenant, NOW_S + 60)
    assert loaded.observe([], [pb.PolicyCommand(resume_tenant_id=TENANT)], now_s=NOW_S + 61)
    saved.save(loaded, NOW_S + 61)
    resumed = saved.adaptive()
    assert resumed.reputation.suspension_of(BULK, NOW_S + 62) is None
    assert resumed.reputation.suspension_of(tenant, NOW_S + 62) is None


def test_bounces_and_complaints_that_arrive_as_mail_count() -> None:
    policies = AdaptivePolicies(RULES)
    policies.observe([result(1000, "yahoo")], now_s=NOW_S)
    bounces = result(60, "yahoo", kind=RESULT_KIND_BOUNCE, bounce_class="invalid_recipient")
    policies.observe([bounces], now_s=NOW_S)
    complaints = result(5, "yahoo", kind=RESULT_KIND_COMPLAINT)
    policies.observe([complaints], now_s=NOW_S)
    standings = [
        (one.standing, one.reason)
        for one in policies.drain(NOW_S).events
        if isinstance(one, pb.StandingChanged) and one.subject_kind == "tenant"
    ]
    assert standings == [("warned", "bounces"), ("broadcasts_paused", "complaints")]


def test_a_bounce_that_anybody_may_have_written_slows_no_source_down() -> None:
    policies = AdaptivePolicies(RULES)
    forged = refused(99)
    forged.kind = RESULT_KIND_BOUNCE
    policies.observe([forged], now_s=NOW_S)
    assert policies.feedback.overrides(NOW_S) == []


def test_test_mail_counts_nowhere() -> None:
    policies = started()
    policies.drain(NOW_S)
    policies.observe([result(99, "sandbox")], now_s=NOW_S + 60)
    assert not policies.drain(NOW_S + 60)


def test_nothing_is_saved_where_nothing_has_changed() -> None:
    policies = AdaptivePolicies(RULES)
    policies.observe([result(1)], now_s=NOW_S)
    assert policies.drain(NOW_S).counts
    assert not policies.drain(NOW_S + 60)
    policies.observe([result(1)], now_s=NOW_S + 61)
    assert policies.drain(NOW_S + 61).counts
    policies.observe([result(1)], now_s=NOW_S + 61.5)
    assert not policies.drain(NOW_S + 61.5)  # soon
    assert policies.drain(NOW_S + 62).counts


def test_counts_of_many_tenants_are_saved_in_several_ticks() -> None:
    policies = AdaptivePolicies(RULES)
    sent = [result(1) for _ in range(2 * COUNTS_MAX)]
    for number, one in enumerate(sent):
        one.queue_id = f"tenant-{number}/site"
    policies.observe(sent, now_s=NOW_S)
    saved = [policies.drain(NOW_S + tick).counts for tick in range(4)]
    assert [len(counts) for counts in saved] == [COUNTS_MAX, COUNTS_MAX, 1, 0]


def test_a_source_whose_pool_is_all_in_warmup_spreads_its_allowance_over_the_day() -> None:
    policies = started()
    ours = EgressSource("e1", DEFAULT_POOL, "", "")
    policies.replace_sources([ours])
    scope = LimitScope(ScopeKind.WARMUP, "e1")
    assert policies.warmups.limits_of(scope, NOW_S).per_hour == 1  # 20 / 24
    policies.replace_sources([ours, EgressSource("e2", DEFAULT_POOL, "", "")])
    assert policies.warmups.limits_of(scope, NOW_S).per_hour == 4  # 20 / 6


def test_a_removed_source_is_forgotten() -> None:
    policies = started()
    policies.replace_sources([EgressSource("e2", DEFAULT_POOL, "", "")])
    assert policies.warmups.states("e1") == []
    assert not policies.observe([], now_s=NOW_S + 2 * DAY_S)


@pytest.mark.parametrize("command", [warmup("pause"), warmup("start", ramp="no such ramp")])
def test_a_command_that_no_longer_applies_is_ignored(command: pb.PolicyCommand) -> None:
    policies = AdaptivePolicies(RULES)
    assert not policies.observe([], [command], now_s=NOW_S)
    assert not policies.drain(NOW_S)


def test_a_message_beyond_the_allowance_waits_for_the_warmup_or_leaves_through_a_warm_source() -> (
    None
):
    cell = memory_cell("e1", rules=RULES)
    cell.cell.apply_results([], commands=[warmup("start", ramp="test")], now_s=NOW_S)
    for number in range(3):
        cell.add(due_message(number))
    assert len(cell.tick(NOW_S)) == 1  # 20 a day, spread over its hours
    [row] = cell.queues.values()
    assert row.blocked
    assert row.blocked.capacity.limited_by == WaitReason.WARMUP
    both = memory_cell("e1", "e2", rules=RULES)
    both.cell.apply_results([], commands=[warmup("start", ramp="test")], now_s=NOW_S)
    for number in range(9):
        both.add(due_message(number))
    sent = [one.egress_id for one in both.tick(NOW_S)]
    assert (sent.count("e1"), sent.count("e2")) == (4, 5)


def test_broadcasts_of_a_paused_tenant_wait_and_its_other_mail_leaves() -> None:
    cell = memory_cell("e1", rules=RULES)
    cell.cell.apply_results([result(800), invalid(200)], now_s=NOW_S)
    cell.add(due_message(1))
    cell.add(due_message(2, queue_id=f"{TENANT}/site/bulk"))
    assert [one.row.message_id for one in cell.tick(NOW_S)] == ["m1"]
    blocked = cell.queues[f"{TENANT}/site/bulk"].blocked
    assert blocked
    assert (blocked.scope, blocked.capacity.limited_by) == (BULK, WaitReason.REPUTATION)


def override(**fields: object) -> pb.OverrideSet:
    given: dict[str, object] = {
        "override_id": "operator/1",
        "scope": "egress_site/e1/yahoo",
        "action": "suspend_site",
        "set_at": timestamp(NOW_S),
        "until": timestamp(NOW_S + 60),
        "ends_at": timestamp(NOW_S + 60),
        **fields,
    }
    return pb.OverrideSet(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"scope": "egress_site/e1/" + "x" * 6_000},  # no index takes it
        {"scope": "egress_site/e1/a\0b"},  # no text of PostgreSQL has it
        {"scope": "egress_site/e1/../x"},
        {"scope": "egress_site/e1/a b"},
        {"scope": "egress_site/e1"},
        {"scope": "egress_site/e1/"},
        {"scope": "tenant/"},
        {"scope": "engine/"},
        {"scope": "nonsense"},
        {"action": "shout"},
        {"until": timestamp(NOW_S - 1)},
        {"ends_at": timestamp(NOW_S + 1)},
        {"ends_at": timestamp(NOW_S + 1e12)},
        {"set_at": timestamp(1e13), "until": timestamp(1e13 + 1), "ends_at": timestamp(1e13 + 1)},
        {"override_id": ""},
        {"override_id": "x" * 6_000},
        {"reason": "x" * 6_000},
    ],
)
def test_an_override_that_cannot_be_stored_or_limits_nothing_is_refused(
    fields: dict[str, object],
) -> None:
    """And the scheduler ignores it: it could save nothing any more."""
    command = pb.PolicyCommand(set_override=override(**fields))
    policies = AdaptivePolicies(RULES)

    with pytest.raises(ValueError, match=r"."):
        policies.execute(command, NOW_S)
    policies.observe([], [command], now_s=NOW_S)

    assert not policies.drain(NOW_S).events
    policies.execute(pb.PolicyCommand(set_override=override()), NOW_S)


@pytest.mark.parametrize("egress_id", ["", "x" * 6_000, "e\0", "e/google"])
def test_a_warmup_of_what_is_no_source_is_refused(egress_id: str) -> None:
    with pytest.raises(ValueError, match="there is no warmup"):
        AdaptivePolicies(RULES).execute(warmup("start", egress_id=egress_id), NOW_S)
