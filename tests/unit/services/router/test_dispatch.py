"""Due rows are assigned, suppressed, requeued or postponed."""

from typing import Any

import pytest

from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned
from services.router.domain.dispatch import DispatchContext, DispatchResult, dispatch
from services.router.domain.events import UnansweredAssignment, delivery_assigned
from services.router.domain.message import DueMessage, ScheduledQueue, State
from services.router.domain.routes import MxHost, Route
from services.router.domain.scopes import DEFAULT_POOL, EgressSource, LimitScopes, TenantRouting
from services.router.domain.shaping import Shaping, SiteLimits

NOW_S = 1_795_000_000.0
TENANT = "019ab000-0000-7000-8000-00000000000a"
ROUTE = Route("site", (MxHost("mx.site", 10, 0),))
SANDBOX = Route("sandbox", (MxHost("127.0.0.1", 0, 8027),))


def new_context(
    *egresses: str, in_flight_max: int = 10, route: Route | None = ROUTE
) -> DispatchContext:
    scopes = LimitScopes(lambda _: TenantRouting(), Shaping(SiteLimits(in_flight_max), {}))
    scopes.set_sources(EgressSource(one, DEFAULT_POOL, "", "") for one in egresses or ("e1",))
    return DispatchContext(scopes, lambda _: route, SANDBOX, "mail.test", 120.0)


def row(
    number: int = 1,
    *,
    site: str = "site",
    test: bool = False,
    to: str = "ann@example.com",
    **extra: Any,  # noqa: ANN401
) -> DueMessage:
    context = MessageContext(message_id=f"m{number}", recipient=to, tenant_id=TENANT, test=test)
    due = DueMessage(
        message_id=f"m{number}",
        queue_id=ScheduledQueue(TENANT, site).queue_id,
        due_s=NOW_S - 1,
        expires_s=NOW_S + 3600,
        attempt=0,
        attempt_count=0,
        egress_id="",
        ambiguous=False,
        is_suppressed=False,
        context=context.SerializeToString(),
    )
    return due._replace(**extra)


def dispatch_rows(*rows: DueMessage, dispatch_context: DispatchContext) -> DispatchResult:
    return dispatch(rows, dispatch_context, now_s=NOW_S)


def test_an_assignment_carries_the_connection_limits_of_its_site() -> None:
    site_limits = SiteLimits(400, connections_max=2, messages_per_connection_max=100)
    dispatch_context = new_context()
    dispatch_context.scopes._shaping.by_site["site"] = site_limits
    [assignment] = dispatch_rows(row(), dispatch_context=dispatch_context).assignments
    assert assignment.event.connections_max == 2
    assert assignment.event.messages_per_connection_max == 100


def test_an_assignment_has_a_source_mx_hosts_and_a_deadline() -> None:
    [assignment] = dispatch_rows(row(), dispatch_context=new_context()).assignments
    event = assignment.event
    assert (event.attempt, event.egress_id, event.site) == (1, "e1", "site")
    assert (event.ehlo, event.mx_hosts[0].host) == ("mail.test", "mx.site")
    assert event.not_after.seconds == NOW_S + 120


def test_an_assignment_has_both_addresses_of_its_egress_source() -> None:
    dispatch_context = new_context()
    dispatch_context.scopes.set_sources(
        [EgressSource("e1", DEFAULT_POOL, "192.0.2.1", "out.test", "2001:db8::1")]
    )
    [assignment] = dispatch_rows(row(), dispatch_context=dispatch_context).assignments
    assert (assignment.event.source_ip, assignment.event.source_ipv6) == (
        "192.0.2.1",
        "2001:db8::1",
    )
    assert assignment.event.ehlo == "out.test"


def test_an_assignment_is_republished_byte_for_byte_from_its_row() -> None:
    due = row(attempt=3, attempt_count=2, ambiguous=True)
    [assignment] = dispatch_rows(due, dispatch_context=new_context()).assignments
    again = delivery_assigned(
        UnansweredAssignment("m1", 4, 2, True, assignment.stored_event, due.context)
    )
    assert again == assignment.event
    assert isinstance(again, DeliveryAssigned)


def test_an_assignment_is_not_valid_after_its_message_expires() -> None:
    [assignment] = dispatch_rows(
        row(expires_s=NOW_S + 5), dispatch_context=new_context()
    ).assignments
    assert assignment.event.not_after.seconds == NOW_S + 5


def test_a_suppressed_address_is_closed_before_an_attempt() -> None:
    result = dispatch_rows(row(is_suppressed=True), dispatch_context=new_context())
    assert [one.state for one in result.closings] == [State.SUPPRESSED]
    assert not result.assignments


def test_one_address_of_test_mail_is_always_suppressed() -> None:
    result = dispatch_rows(
        row(site="sandbox", test=True, to="Suppressed+1@example.com"),
        dispatch_context=new_context(),
    )
    assert [one.state for one in result.closings] == [State.SUPPRESSED]
    assert not result.assignments
    assert dispatch_rows(
        row(to="suppressed@example.com"), dispatch_context=new_context()
    ).assignments


def test_test_mail_is_assigned_to_the_sandbox_without_limits() -> None:
    dispatch_context = new_context(in_flight_max=0)
    result = dispatch_rows(
        row(site="sandbox", test=True, is_suppressed=True), dispatch_context=dispatch_context
    )
    assert [(one.egress_id, one.event.mx_hosts[0].port) for one in result.assignments] == [
        ("sandbox", 8027)
    ]


def test_a_message_moves_to_the_new_site_of_its_domain() -> None:
    result = dispatch_rows(row(site="old"), dispatch_context=new_context())
    assert [(one.queue.site, one.due_s) for one in result.requeues] == [("site", NOW_S)]


def test_a_domain_without_a_cached_route_is_looked_up_again() -> None:
    result = dispatch_rows(row(), dispatch_context=new_context(route=None))
    assert [(one.queue.site, one.reason) for one in result.requeues] == [("unresolved", "dns")]


def test_messages_are_spread_over_the_sources_of_a_pool() -> None:
    result = dispatch_rows(
        *(row(number) for number in range(10)), dispatch_context=new_context("e1", "e2")
    )
    assert sorted(one.egress_id for one in result.assignments) == ["e1"] * 5 + ["e2"] * 5


def test_queues_together_use_no_more_than_the_capacity_of_their_sources() -> None:
    dispatch_context = new_context("e1", "e2")
    dispatch_context.scopes.in_flight.load("e1", "site", 9)
    dispatch_context.scopes.in_flight.load("e2", "site", 7)
    rows = [
        row(number, queue_id=ScheduledQueue(f"tenant{number}", "site").queue_id)
        for number in range(4)
    ]
    assignment = dispatch_rows(*rows, dispatch_context=dispatch_context).assignments
    assert sorted(one.egress_id for one in assignment) == ["e1", "e2", "e2", "e2"]


def test_a_retry_uses_the_same_source_and_waits_for_its_capacity() -> None:
    dispatch_context = new_context("e1", "e2", in_flight_max=2)
    result = dispatch_rows(
        *(row(number, egress_id="e2") for number in range(3)), dispatch_context=dispatch_context
    )
    assert [one.egress_id for one in result.assignments] == ["e2", "e2"]
    assert [(one.reason, one.due_s > NOW_S) for one in result.requeues] == [("egress_window", True)]


def test_a_retry_whose_source_was_deleted_uses_another() -> None:
    [assignment] = dispatch_rows(
        row(egress_id="gone"), dispatch_context=new_context("e1")
    ).assignments
    assert assignment.egress_id == "e1"


def test_a_row_that_cannot_be_parsed_fails_alone() -> None:
    result = dispatch_rows(row(1), row(2, context=b"\xff"), dispatch_context=new_context())
    assert [one.row.message_id for one in result.assignments] == ["m1"]
    assert [(one.message_id, one.reason) for one in result.closings] == [("m2", "unreadable")]


@pytest.mark.parametrize("in_flight_max", [1, 3])
def test_messages_in_flight_never_exceed_the_limit(in_flight_max: int) -> None:
    dispatch_context = new_context("e1", "e2", in_flight_max=in_flight_max)
    for _ in range(3):
        dispatch_rows(*(row(number) for number in range(5)), dispatch_context=dispatch_context)
        assert all(count <= in_flight_max for _, count in dispatch_context.scopes.in_flight)
