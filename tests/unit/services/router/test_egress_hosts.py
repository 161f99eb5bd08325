"""Egress hosts: what their failures do to messages, sources and pools, and how they end."""

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_EGRESS_FAILED,
    ATTEMPT_OUTCOME_TEMPORARY,
    AttemptOutcome,
)
from contracts.router.v1.policies_pb2 import PolicyCommand, PolicyEvent
from contracts.router.v1.results_pb2 import RESULT_KIND_ATTEMPT, Result, Results
from kernel.rpc import RequestError, RpcUnavailable
from services.router.api.egress import normalize_egress_host
from services.router.domain.egress import EgressSource
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.policies import DEFAULT_POOL
from services.router.domain.policy_engine import AdaptivePolicies
from services.router.domain.policy_events import to_stored
from services.router.domain.reasons import WaitReason
from services.router.domain.source_checks import (
    SelfCheckFinding,
    SelfCheckKind,
    SelfCheckResult,
    SourceChecks,
    check_egress_host,
)
from services.router.domain.source_states import SourceConditions, SourceState, state_of
from services.router.loops.egress_hosts import EgressHostLoop, check_of
from services.router.store import directory, results
from tests.support.memory_cell import NOW_S, MemoryCell, due_message, memory_cell

IPV4, IPV6, HOST = "192.0.2.10", "2001:db8::10", "out1.example.com:1080"
HOSTED = EgressSource("hosted", DEFAULT_POOL, IPV4, "out1.example.com", IPV6, egress_host=HOST)
OWN = EgressSource("own", DEFAULT_POOL, "192.0.2.20", "out2.example.com")
SCOPE = LimitScope(ScopeKind.WARMUP, "hosted")


def found(problem: str, *, at_s: float = NOW_S, source: EgressSource = HOSTED) -> PolicyCommand:
    """What a check of the host has found about both addresses."""
    outcomes = [check_egress_host(one, problem) for one in (IPV4, IPV6)]
    return PolicyCommand(source_check=check_of(source, outcomes, now_s=at_s))


def failed(cell: MemoryCell, egress_id: str = "hosted", *, outcome: Any = None) -> list[Result]:  # noqa: ANN401
    given: AttemptOutcome.ValueType = outcome or ATTEMPT_OUTCOME_EGRESS_FAILED
    return [
        Result(
            kind=RESULT_KIND_ATTEMPT,
            queue_id=next(iter(cell.queues)),
            egress_id=egress_id,
            count=1,
            outcome=given,
        )
    ]


def hosted_cell(*sources: EgressSource) -> MemoryCell:
    cell = memory_cell()
    cell.sources = list(sources)
    cell.take_over(NOW_S)
    return cell


def test_a_failure_at_the_host_suspends_the_source_until_a_check_finds_it_well() -> None:
    cell = hosted_cell(HOSTED)
    cell.add(due_message())
    [assigned] = cell.tick(NOW_S)
    assert assigned.event.egress_host == HOST
    cell.cell.apply_results(failed(cell), now_s=NOW_S + 1)
    cell.add(due_message(2))
    assert not cell.tick(NOW_S + 1)
    [blocked] = [row.blocked for row in cell.queues.values()]
    assert blocked
    assert blocked.scope == LimitScope(ScopeKind.POOL_SITE, blocked.scope.id)
    assert blocked.capacity.limited_by == WaitReason.EGRESS_HOST

    cell.cell.apply_results([], commands=[found("token", at_s=NOW_S + 2)], now_s=NOW_S + 2)
    assert not cell.tick(NOW_S + 2)
    cell.cell.apply_results([], commands=[found("", at_s=NOW_S + 3)], now_s=NOW_S + 3)
    cell.tick(NOW_S + 3)
    assert [one.egress_id for one in cell.tick(NOW_S + 3)] == ["hosted"]


def test_other_sources_of_the_pool_send_meanwhile() -> None:
    cell = hosted_cell(HOSTED, OWN)
    cell.add(due_message())
    cell.tick(NOW_S)
    cell.cell.apply_results(failed(cell), now_s=NOW_S + 1)
    for number in range(2, 12):
        cell.add(due_message(number))
    cell.tick(NOW_S + 1)
    sent = {one.egress_id for at in (2, 3) for one in cell.tick(NOW_S + at)}
    assert sent <= {"own"}


def test_a_receiving_server_that_does_not_answer_suspends_no_source() -> None:
    cell = hosted_cell(HOSTED)
    cell.add(due_message())
    cell.tick(NOW_S)
    cell.cell.apply_results(failed(cell, outcome=ATTEMPT_OUTCOME_TEMPORARY), now_s=NOW_S + 1)
    assert not cell.cell.adaptive.checks.host_problems("hosted")


def test_the_suspension_survives_a_change_of_the_scheduler_and_many_failures_are_one_event() -> (
    None
):
    first = hosted_cell(HOSTED)
    first.add(due_message())
    first.tick(NOW_S)
    for at in (1, 2, 3):
        first.cell.apply_results(failed(first), now_s=NOW_S + at)
    events = first.cell.adaptive.drain(NOW_S + 3).events
    assert [type(one).__name__ for one in events] == ["SourceChecked"]

    second = AdaptivePolicies()
    second.load(PolicyEvent.FromString(row) for _, row in map(to_stored, events))
    second.replace_sources([HOSTED])
    suspension = second.checks.suspension_of(SCOPE, NOW_S)
    assert suspension
    assert suspension.reason is WaitReason.EGRESS_HOST
    assert second.observe([], [found("", at_s=NOW_S + 4)], now_s=NOW_S + 4)  # its capacity rises
    assert second.checks.suspension_of(SCOPE, NOW_S + 4) is None


def test_a_source_that_has_no_host_any_more_has_none_of_its_problems() -> None:
    checks = SourceChecks()
    checks.replace_sources([HOSTED])
    assert checks.record_host_failure("hosted", at_s=1.0)
    assert checks.problems("hosted")
    checks.replace_sources([replace(HOSTED, egress_host="")])
    assert not checks.problems("hosted")
    assert checks.suspension_of(SCOPE, 1.0) is None
    assert checks.record_host_failure("hosted", at_s=2.0) is None  # an attempt of before


def test_the_checks_in_dns_and_of_the_host_do_not_answer_for_each_other() -> None:
    checks = SourceChecks(required=True)
    checks.replace_sources([HOSTED])
    checks.record_host_failure("hosted", at_s=1.0)
    good = tuple(SelfCheckFinding(SelfCheckKind.PTR, one) for one in (IPV4, IPV6))
    checks.record(SelfCheckResult("hosted", 2.0, (IPV4, IPV6), good, is_complete=True))
    assert checks.has_passed("hosted")
    assert {one.problem for one in checks.host_problems("hosted")} == {"egress_host_unreachable"}


def test_each_problem_has_a_name_and_advice() -> None:
    for problem in ("unreachable", "token", "address", "of a newer delivery"):
        outcome = check_egress_host(IPV4, problem)
        assert outcome.problem == f"egress_host_{problem}"
        assert outcome.advice.endswith(".")
    assert not check_egress_host(IPV4, "").problem
    assert state_of(SourceConditions(is_host_failing=True)) is SourceState.SUSPENDED


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("", ""),
        ("OUT1.Example.com:1080", "out1.example.com:1080"),
        ("büro.example:1080", "xn--bro-hoa.example:1080"),
        ("192.0.2.1:1080", "192.0.2.1:1080"),
        ("[2001:DB8:0::1]:01080", "[2001:db8::1]:1080"),
    ],
)
def test_an_egress_host_is_normalized(given: str, host: str) -> None:
    assert normalize_egress_host(given, [IPV4]) == host


@pytest.mark.parametrize(
    "given",
    ["out1.example.com", ":1080", "out1.example.com:", "out1.example.com:0", "a:65536", "a b:1080",
     "out1.example.com:x", "out1.example.com:²", "http://out1.example.com:1080", "-a.example:1"],
)  # fmt: skip
def test_what_is_no_egress_host_is_refused(given: str) -> None:
    with pytest.raises(RequestError) as refused:
        normalize_egress_host(given, [IPV4])
    assert refused.value.field == "egress_host"


def test_a_source_without_an_address_has_no_host() -> None:
    with pytest.raises(RequestError) as refused:
        normalize_egress_host(HOST, [])
    assert refused.value.field == "egress_host"


# ── the loop ────────────────────────────────────────────────────────────────────────────────────


class Lease:
    fence: int | None = 1
    name = "default"

    @asynccontextmanager
    async def transaction(self) -> Any:  # noqa: ANN401 - never used
        yield None


class Checker:
    """answers: the problem of each pair; None: delivery is unavailable."""

    def __init__(self, answers: dict[str, str] | None) -> None:
        self.answers = answers
        self.checked: list[tuple[str, str]] = []

    async def check(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        if self.answers is None:
            raise RpcUnavailable("delivery")
        self.checked += pairs
        return [self.answers.get(address, "") for _, address in pairs]


def commands_of(
    monkeypatch: pytest.MonkeyPatch, checker: Checker, known: Sequence[SelfCheckFinding] | None
) -> list[PolicyCommand]:
    appended: list[PolicyCommand] = []

    async def append(_: object, given: Results, __: str) -> None:
        appended.extend(given.commands)

    async def load(_: object, __: str) -> list[EgressSource]:
        return [HOSTED]

    monkeypatch.setattr(results, "append", append)
    monkeypatch.setattr(directory, "load_hosted_sources", load)
    loop = EgressHostLoop(cast(Any, Lease()), checker, known=lambda _: known)
    asyncio.run(loop.run_once())
    return appended


def test_what_a_check_finds_is_a_command_while_it_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    checker = Checker({IPV6: "address"})
    [command] = commands_of(monkeypatch, checker, known=[])
    assert checker.checked == [(HOST, IPV4), (HOST, IPV6)]
    outcomes = command.source_check.outcomes
    assert [(one.address, one.problem) for one in outcomes] == [
        (IPV4, ""),
        (IPV6, "egress_host_address"),
    ]
    assert not command.source_check.is_complete
    problem = check_egress_host(IPV6, "address")
    assert not commands_of(monkeypatch, checker, known=[problem])
    assert commands_of(monkeypatch, Checker({}), known=[problem])
    assert not commands_of(monkeypatch, Checker({}), known=[])
    assert not commands_of(monkeypatch, checker, known=None)  # the scheduler is not ready


def test_without_an_answer_of_delivery_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not commands_of(monkeypatch, Checker(None), known=[check_egress_host(IPV4, "token")])
