"""Self-checks of egress sources, listings, and the states that follow."""

from contracts.router.v1.policies_pb2 import PolicyCommand, PolicyEvent, SourceCheck
from services.router.domain import policy_events
from services.router.domain.egress import EgressSource
from services.router.domain.events import timestamp
from services.router.domain.policies import DEFAULT_POOL
from services.router.domain.policy_engine import AdaptivePolicies, AdaptivePolicyRules
from services.router.domain.policy_events import check_outcome, to_stored
from services.router.domain.source_checks import (
    SelfCheckFinding,
    SelfCheckKind,
    SelfCheckResult,
    SourceChecked,
    check_forward,
    check_ptr,
    check_spf,
    decide,
)
from services.router.domain.source_states import SourceConditions, SourceState, state_of
from tests.support.memory_cell import NOW_S, due_message, memory_cell

IPV4, EHLO, HOUR_S = "192.0.2.10", "out1.example.com", 3600.0
SOURCE = EgressSource("e1", DEFAULT_POOL, IPV4, EHLO)
MISSING = SelfCheckFinding(SelfCheckKind.PTR, IPV4, "ptr_missing", "Publish it.")


def result(
    *findings: SelfCheckFinding, at_s: float = 0.0, is_complete: bool = True
) -> SelfCheckResult:
    return SelfCheckResult("e1", at_s, (IPV4,), findings, is_complete)


def command(
    *findings: SelfCheckFinding, at_s: float = NOW_S, is_complete: bool = True
) -> PolicyCommand:
    found = SourceCheck(
        egress_id="e1",
        checked_at=timestamp(at_s),
        addresses=[IPV4],
        outcomes=map(check_outcome, findings),
        is_complete=is_complete,
    )
    return PolicyCommand(source_check=found)


def test_each_failed_check_has_a_name_and_a_sentence() -> None:
    findings = [
        check_ptr(IPV4, EHLO, []),
        check_ptr(IPV4, EHLO, ["host10.isp.example."]),
        check_forward(IPV4, EHLO, []),
        check_forward(IPV4, EHLO, ["192.0.2.77"]),
        check_spf(IPV4, "_spf.example.com", "none"),
        check_spf(IPV4, "_spf.example.com", "softfail"),
        check_spf(IPV4, "_spf.example.com", "permerror"),
    ]
    assert [one.problem for one in findings if one] == [
        *("ptr_missing", "ptr_mismatch", "forward_missing", "forward_mismatch"),
        *("spf_missing", "spf_mismatch", "spf_invalid"),
    ]
    for one in findings:
        assert one
        assert IPV4 in one.advice or "_spf.example.com" in one.advice


def test_good_records_have_no_problem_and_no_answer_has_no_outcome() -> None:
    good = [
        check_ptr(IPV4, EHLO, ["OUT1.example.com."]),
        check_forward(IPV4, EHLO, ["192.0.2.77", IPV4]),
        check_spf(IPV4, "_spf.example.com", "pass"),
    ]
    assert not any(one.problem for one in good if one)
    assert check_ptr(IPV4, EHLO, None) is None
    assert check_forward(IPV4, EHLO, None) is None
    assert check_spf(IPV4, "_spf.example.com", "unknown") is None


def test_a_check_without_an_answer_keeps_the_earlier_problem() -> None:
    state = decide(None, result(MISSING))
    assert state
    assert state.problems == (MISSING,)
    assert decide(state, result(is_complete=False, at_s=HOUR_S)) is None
    solved = decide(state, result(SelfCheckFinding(SelfCheckKind.PTR, IPV4), at_s=2 * HOUR_S))
    assert solved == SourceChecked("e1", 2 * HOUR_S, (), 2 * HOUR_S)
    assert (
        decide(solved, result(SelfCheckFinding(SelfCheckKind.PTR, IPV4), at_s=3 * HOUR_S)) is None
    )


def test_problems_of_an_address_that_the_source_no_longer_has_are_forgotten() -> None:
    state = decide(None, result(MISSING))
    moved = decide(state, SelfCheckResult("e1", HOUR_S, ("192.0.2.11",), (), False))
    assert moved
    assert moved.problems == ()
    assert not moved.passed_s


def test_findings_are_events_that_survive_a_change_of_the_scheduler() -> None:
    first = AdaptivePolicies()
    assert not first.observe([], [command(MISSING)], now_s=NOW_S)
    events = first.drain(NOW_S).events
    assert [type(one).__name__ for one in events] == ["SourceChecked"]

    second = AdaptivePolicies()
    second.load(PolicyEvent.FromString(row) for _, row in map(to_stored, events))

    assert second.checks.states() == first.checks.states()


def test_a_source_that_no_longer_exists_is_forgotten() -> None:
    adaptive = AdaptivePolicies()
    adaptive.observe([], [command(MISSING)], now_s=NOW_S)
    adaptive.replace_sources([])
    assert not adaptive.checks.states()


def test_a_new_source_sends_nothing_before_it_has_passed_if_checks_are_required() -> None:
    cell = memory_cell(rules=AdaptivePolicyRules(checks_required=True))
    cell.sources = [SOURCE]
    cell.take_over(NOW_S)
    cell.add(due_message())
    assert not cell.tick(NOW_S)
    [blocked] = [row.blocked for row in cell.queues.values()]
    assert blocked
    assert blocked.capacity.limited_by == "no_egress"

    cell.cell.apply_results(
        [], commands=[command(SelfCheckFinding(SelfCheckKind.PTR, IPV4))], now_s=NOW_S + 1
    )
    cell.tick(NOW_S + 1)
    assert [one.egress_id for one in cell.tick(NOW_S + 1)] == ["e1"]

    cell.cell.apply_results([], commands=[command(MISSING)], now_s=NOW_S + 2)  # later it only warns
    cell.add(due_message(2))
    assert cell.tick(NOW_S + 2)


def test_a_source_without_an_address_of_its_own_needs_no_check() -> None:
    cell = memory_cell("e1", rules=AdaptivePolicyRules(checks_required=True))
    cell.add(due_message())
    assert cell.tick(NOW_S)


def test_the_state_follows_from_what_limits_the_source() -> None:
    everything = SourceConditions(
        is_paused=True, is_listed=True, needs_check=True, is_warming=True, in_flight=3
    )
    assert state_of(everything._replace(is_removed=True)) is SourceState.DRAINING
    assert state_of(everything._replace(is_removed=True, in_flight=0)) is None
    assert state_of(everything) is SourceState.SUSPENDED
    assert state_of(everything._replace(is_paused=False)) is SourceState.SUSPENDED
    assert state_of(SourceConditions(needs_check=True, is_warming=True)) is SourceState.PROVISIONING
    assert state_of(SourceConditions(is_warming=True)) is SourceState.WARMING
    assert state_of(SourceConditions()) is SourceState.ACTIVE


def test_events_are_read_as_they_were_written() -> None:
    checked = SourceChecked("e1", NOW_S, (MISSING,), NOW_S - 1)
    assert policy_events.source_checked_of(policy_events.source_checked(checked)) == checked
