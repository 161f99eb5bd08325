"""Due rows are assigned, suppressed, requeued or left in their queue."""

from dataclasses import replace

import pytest

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, PRIORITY_EXPRESS, MessageContext, Priority
from contracts.router.v1.events_pb2 import DeliveryAssigned
from services.router.domain.dispatch import Assignment, DispatchResult
from services.router.domain.events import AssignmentToRepublish, delivery_assigned
from services.router.domain.ledger import LimitScope, ScopeKind, Suspension
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.message import DueMessage, MessageRowState, ScheduledQueue
from services.router.domain.policies import DEFAULT_POOL, TenantRouting, egress_site_scope
from services.router.domain.policy_engine import AdaptivePolicyRules
from services.router.domain.results import InFlightCount
from services.router.domain.routes import MxHost, Route
from services.router.domain.shaping import SiteLimits
from tests.support.memory_cell import NOW_S, TENANT, MemoryCell, due_message, memory_cell, sources


def dispatched(*rows: DueMessage, cell: MemoryCell | None = None) -> DispatchResult:
    due: dict[str, list[DueMessage]] = {}
    for row in rows:
        due.setdefault(row.queue_id, []).append(row)
    quotas = {queue_id: len(found) for queue_id, found in due.items()}
    return (cell or memory_cell()).cell.dispatch(due, quotas, now_s=NOW_S)


def test_an_assignment_carries_the_connection_limits_and_the_pace_of_its_site() -> None:
    limits = SiteLimits(400, per_second_max=20, connections_max=2, messages_per_connection_max=100)
    [assignment] = dispatched(due_message(), cell=memory_cell(site_limits=limits)).assignments
    assert assignment.event.connections_max == 2
    assert assignment.event.messages_per_connection_max == 100
    assert assignment.event.per_second_max == 20


def test_an_assignment_has_a_source_mx_hosts_and_a_deadline() -> None:
    [assignment] = dispatched(due_message()).assignments
    event = assignment.event
    assert (event.attempt, event.egress_id, event.site) == (1, "e1", "site")
    assert (event.ehlo, event.mx_hosts[0].host) == ("mail.test", "mx.site")
    assert event.not_after.seconds == NOW_S + 120


@pytest.mark.parametrize("priority", [PRIORITY_EXPRESS, PRIORITY_BULK])
def test_an_assignment_has_the_priority_of_its_message(priority: Priority.ValueType) -> None:
    due = due_message()
    context = MessageContext.FromString(due.context)
    context.priority = priority
    found = dispatched(due._replace(context=context.SerializeToString()))
    assert [one.event.priority for one in found.assignments] == [priority]
    assert found.express == (priority == PRIORITY_EXPRESS)


@pytest.mark.parametrize("is_static", [False, True])
def test_an_assignment_has_whether_its_hosts_are_those_of_mx_records(is_static: bool) -> None:
    route = Route("site", (MxHost("mx.site", 10, 0),), is_static=is_static)
    [assignment] = dispatched(due_message(), cell=memory_cell(route_of=lambda _: route)).assignments
    assert assignment.event.static_route == is_static


def test_an_assignment_has_both_addresses_of_its_egress_source() -> None:
    cell = memory_cell()
    [source] = sources("e1")
    addressed = type(source)("e1", DEFAULT_POOL, "192.0.2.1", "out.test", "2001:db8::1")
    cell.cell.replace_sources([addressed], now_s=NOW_S)
    [assignment] = dispatched(due_message(), cell=cell).assignments
    assert (assignment.event.source_ip, assignment.event.source_ipv6) == (
        "192.0.2.1",
        "2001:db8::1",
    )
    assert assignment.event.ehlo == "out.test"


@pytest.mark.parametrize(("sites", "signed_by"), [(("site",), "d1"), (("yahoo",), ""), ((), "")])
def test_the_feedback_domain_of_a_pool_signs_for_sites_with_a_loop_by_domain(
    sites: tuple[str, ...], signed_by: str
) -> None:
    cell = memory_cell(rules=AdaptivePolicyRules(complaint_domain_sites=sites))
    [source] = sources("e1")
    cell.cell.replace_sources([replace(source, feedback_domain_id="d1")], now_s=NOW_S)
    [assignment] = dispatched(due_message(), cell=cell).assignments
    assert assignment.event.feedback_domain_id == signed_by
    row = AssignmentToRepublish("m1", 1, 0, False, assignment.stored_event, b"")
    assert delivery_assigned(row).feedback_domain_id == signed_by


def test_an_assignment_is_republished_byte_for_byte_from_its_row() -> None:
    due = due_message(attempt=3, attempt_count=2, ambiguous=True)
    [assignment] = dispatched(due).assignments
    again = delivery_assigned(
        AssignmentToRepublish("m1", 4, 2, True, assignment.stored_event, due.context)
    )
    assert again == assignment.event
    assert isinstance(again, DeliveryAssigned)


def test_an_assignment_is_not_valid_after_its_message_expires() -> None:
    [assignment] = dispatched(due_message(expires_s=NOW_S + 5)).assignments
    assert assignment.event.not_after.seconds == NOW_S + 5


def test_a_suppressed_address_is_closed_before_an_attempt() -> None:
    result = dispatched(due_message(suppressed_by="bounce"))
    assert [one.state for one in result.closings] == [MessageRowState.SUPPRESSED]
    assert not result.assignments


def test_one_address_of_test_mail_is_always_suppressed() -> None:
    to = "Suppressed+1@example.com"
    result = dispatched(due_message(site="sandbox", test=True, to=to))
    assert [one.state for one in result.closings] == [MessageRowState.SUPPRESSED]
    assert not result.assignments
    assert dispatched(due_message(to="suppressed@site")).assignments


def test_test_mail_is_assigned_to_the_sandbox_even_without_an_egress_source() -> None:
    cell = memory_cell(tenant_limits=Limits(per_day=1))
    cell.cell.replace_sources([], now_s=NOW_S)
    rows = [due_message(n, site="sandbox", test=True, suppressed_by="bounce") for n in (1, 2)]
    result = dispatched(*rows, cell=cell)
    assert [(one.egress_id, one.event.mx_hosts[0].port) for one in result.assignments] == [
        ("sandbox", 8027)
    ] * 2


def test_the_test_mail_of_a_tenant_has_a_window_that_leaves_room_for_others() -> None:
    cell = memory_cell(site_limits=SiteLimits(5))
    for number in range(100):
        cell.add(due_message(number, site="sandbox", test=True))
    cell.add(due_message(100, site="sandbox", test=True, tenant="other"))
    first = cell.tick(NOW_S)
    assert len(first) == 6
    assert not cell.tick(NOW_S + 1)
    [queue] = [row.blocked for row in cell.queues.values() if row.blocked]
    assert (queue.scope.kind, queue.capacity.limited_by) == ("egress_site", "in_flight")
    cell.answer(first[0], assigned_s=NOW_S)
    cell.tick(NOW_S + 2)
    assert len(cell.tick(NOW_S + 2)) == 1


def test_a_message_moves_to_the_new_site_of_its_domain() -> None:
    result = dispatched(due_message(site="old", to="ann@site"))
    assert [(one.queue.site, one.due_s) for one in result.requeues] == [("site", NOW_S)]


def test_a_domain_without_a_cached_route_is_looked_up_again() -> None:
    result = dispatched(due_message(), cell=memory_cell(route_of=lambda _: None))
    assert [(one.queue.site, one.reason) for one in result.requeues] == [("unresolved", "dns")]


def test_messages_are_spread_over_the_sources_of_a_pool() -> None:
    result = dispatched(*map(due_message, range(10)), cell=memory_cell("e1", "e2"))
    assert sorted(one.egress_id for one in result.assignments) == ["e1"] * 5 + ["e2"] * 5


def test_queues_together_use_no_more_than_the_capacity_of_their_sources() -> None:
    cell = memory_cell("e1", "e2")
    queue = ScheduledQueue(TENANT, "site").queue_id
    cell.cell.load_in_flight([InFlightCount(queue, "e1", 9), InFlightCount(queue, "e2", 7)])
    rows = [due_message(number, tenant=f"tenant{number}") for number in range(5)]
    result = dispatched(*rows, cell=cell)
    assert sorted(one.egress_id for one in result.assignments) == ["e1", "e2", "e2", "e2"]


def test_a_message_that_stays_with_a_source_waits_for_it_without_a_write() -> None:
    cell = memory_cell("e1", "e2", site_limits=SiteLimits(2))
    for number in range(2000):
        cell.add(due_message(number, egress_id="e2"))
    first = cell.tick(NOW_S)
    assert [one.egress_id for one in first] == ["e2", "e2"]
    for second in range(10):
        assert not cell.tick(NOW_S + second)
    assert cell.requeued == 0
    [blocked] = [row.blocked for row in cell.queues.values()]
    assert blocked
    assert blocked.scope == egress_site_scope("e2", "site")
    cell.answer(first[0], assigned_s=NOW_S)
    cell.tick(NOW_S + 11)
    assert [one.egress_id for one in cell.tick(NOW_S + 11)] == ["e2"]


@pytest.mark.parametrize("change", ["deleted", "paused"])
def test_messages_whose_source_left_the_pool_use_another(change: str) -> None:
    cell = memory_cell("e1", "e2", site_limits=SiteLimits(2))
    for number in range(4):
        cell.add(due_message(number, egress_id="e2"))
    cell.tick(NOW_S)
    [first, second] = sources("e1", "e2")
    changed = {
        "deleted": [first],
        "paused": [first, type(second)("e2", DEFAULT_POOL, "", "", paused=True)],
    }[change]
    cell.cell.replace_sources(changed, now_s=NOW_S + 1)
    found = [one.egress_id for tick in range(1, 4) for one in cell.tick(NOW_S + tick)]
    assert found == ["e1", "e1"]


def test_a_row_that_cannot_be_parsed_fails_alone() -> None:
    result = dispatched(due_message(1), due_message(2, context=b"\xff"))
    assert [one.row.message_id for one in result.assignments] == ["m1"]
    assert [(one.message_id, one.reason) for one in result.closings] == [("m2", "unreadable")]


def test_an_assignment_that_was_not_saved_leaves_no_trace() -> None:
    cell = memory_cell(
        site_limits=SiteLimits(10, per_second_max=5), tenant_limits=Limits(per_hour=3)
    )
    result = dispatched(*map(due_message, range(5)), cell=cell)
    assert len(result.assignments) == 1  # the burst of the site's rate
    cell.cell.undo_assignments(result.assignments, now_s=NOW_S)
    again = dispatched(*map(due_message, range(5)), cell=cell)
    assert len(again.assignments) == 1
    assert cell.cell.scopes.ledger.in_flight(egress_site_scope("e1", "site")) == 1


class Suspended:
    """One source is suspended at one site."""

    kinds = tuple(ScopeKind)
    reason = ""

    def __init__(self) -> None:
        self.scope: LimitScope | None = egress_site_scope("e1", "site")

    def limits_of(self, _: LimitScope, __: float) -> Limits:
        return NO_LIMITS

    def suspension_of(self, scope: LimitScope, _: float) -> Suspension | None:
        return Suspension(NOW_S + 3600) if scope == self.scope else None


def test_a_suspended_source_is_replaced_by_the_others_of_its_pool() -> None:
    cell = memory_cell("e1", "e2", policies=[Suspended()])
    for number in range(3):
        cell.add(due_message(number))
        cell.add(due_message(10 + number, site="other"))
    assigned = cell.tick(NOW_S)
    assert {one.egress_id for one in assigned if one.event.site == "site"} == {"e2"}
    assert {one.egress_id for one in assigned if one.event.site == "other"} == {"e1", "e2"}


def test_a_queue_names_the_suspension_that_blocks_it_and_leaves_when_it_is_lifted() -> None:
    suspended = Suspended()
    cell = memory_cell("e1", policies=[suspended])
    cell.add(due_message())
    assert not cell.tick(NOW_S)
    [queue] = cell.queues.values()
    assert queue.blocked
    assert queue.blocked.scope.kind is ScopeKind.POOL_SITE
    assert queue.blocked.capacity[1:] == (NOW_S + 3600, "suspended")
    suspended.scope = None
    cell.cell.on_policies_changed(now_s=NOW_S + 1)
    cell.tick(NOW_S + 1)
    assert len(cell.tick(NOW_S + 1)) == 1


def test_messages_of_a_tenant_that_moves_to_another_pool_leave_at_once() -> None:
    routing = TenantRouting(pool_id="empty")
    cell = memory_cell("e1", routing=lambda _: routing)
    cell.add(due_message())
    assert not cell.tick(NOW_S)
    [queue] = cell.queues.values()
    assert queue.blocked
    assert queue.blocked.capacity.limited_by == "no_egress"
    routing = TenantRouting()
    cell.cell.on_tenant_changed(TENANT)
    cell.tick(NOW_S + 0.1)
    assert len(cell.tick(NOW_S + 0.1)) == 1


def test_raised_limits_of_a_tenant_are_in_force_at_once() -> None:
    routing = TenantRouting(Limits(per_hour=1))
    cell = memory_cell("e1", routing=lambda _: routing)
    for number in range(3):
        cell.add(due_message(number))
    assert len(cell.tick(NOW_S)) == 1
    routing = TenantRouting(Limits(per_hour=2))
    cell.cell.on_tenant_changed(TENANT)
    cell.tick(NOW_S + 0.1)
    assert len(cell.tick(NOW_S + 0.1)) == 1


def test_a_free_place_wakes_one_queue() -> None:
    cell = memory_cell("e1", site_limits=SiteLimits(4))
    for number in range(50):
        cell.add(due_message(number, tenant=f"tenant{number}"))
    assigned: list[Assignment] = cell.tick(NOW_S)
    cell.tick(NOW_S + 0.1)  # all others are blocked now
    cell.answer(assigned[0], assigned_s=NOW_S)
    cell.tick(NOW_S + 0.2)
    assert sum(row.next_s is not None for row in cell.queues.values()) == 1


def test_a_waiting_scope_costs_nothing_until_it_is_released() -> None:
    calls = 0

    class Counting(Suspended):
        def suspension_of(self, scope: LimitScope, now_s: float) -> Suspension | None:
            nonlocal calls
            calls += 1
            if scope.kind is ScopeKind.TENANT and now_s < NOW_S + 60:
                return Suspension(NOW_S + 60)
            return None

    cell = memory_cell("e1", policies=[Counting()])
    for number in range(1_000):
        cell.add(due_message(number, tenant=f"tenant{number}"))
    cell.tick(NOW_S)
    calls = 0
    for tick in range(100):
        now_s = NOW_S + 0.1 + tick / 1000
        cell.cell.apply_results([], now_s=now_s)
        assert not cell.cell.queues_to_unblock(now_s=now_s)
    assert calls == 0
