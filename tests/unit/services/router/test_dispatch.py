"""What becomes of claimed rows."""

from typing import Any

import pytest

from contracts.ingest.v1.events_pb2 import Envelope
from contracts.router.v1.events_pb2 import DeliveryAssigned
from services.router.domain.dispatch import Desk, Dispatched, dispatch
from services.router.domain.facts import Asked, assigned
from services.router.domain.message import Claimed, Lane, State
from services.router.domain.routes import Exchanger, Route
from services.router.domain.scopes import DEFAULT_POOL, Egress, Scopes, Sender
from services.router.domain.shaping import Shape, Shaping

NOW_S = 1_795_000_000.0
TENANT = "019ab000-0000-7000-8000-00000000000a"
ROUTE = Route("site", (Exchanger("mx.site", 10, 0),))
SANDBOX = Route("sandbox", (Exchanger("127.0.0.1", 0, 8027),))


def desk(*egresses: str, in_flight_max: int = 10, route: Route | None = ROUTE) -> Desk:
    scopes = Scopes(lambda _: Sender(), Shaping(Shape(in_flight_max), {}))
    scopes.set_egresses(Egress(one, DEFAULT_POOL, "", "") for one in egresses or ("e1",))
    return Desk(scopes, lambda _: route, SANDBOX, "mail.test", 120.0)


def row(
    number: int = 1,
    *,
    site: str = "site",
    test: bool = False,
    to: str = "ann@example.com",
    **extra: Any,  # noqa: ANN401
) -> Claimed:
    envelope = Envelope(message_id=f"m{number}", recipient=to, tenant_id=TENANT, test=test)
    claimed = Claimed(
        message_id=f"m{number}",
        lane=Lane(TENANT, site).key,
        due_s=NOW_S - 1,
        expires_s=NOW_S + 3600,
        attempt=0,
        tries=0,
        egress_id="",
        ambiguous=False,
        suppressed=False,
        envelope=envelope.SerializeToString(),
    )
    return claimed._replace(**extra)


def done(*rows: Claimed, at: Desk) -> Dispatched:
    return dispatch(rows, at, now_s=NOW_S)


def test_an_assignment_carries_the_limits_of_connections_of_its_site() -> None:
    shape = Shape(400, connections_max=2, messages_per_connection_max=100)
    at = desk()
    at.scopes._shaping.by_site["site"] = shape
    [made] = done(row(), at=at).assignments
    assert made.event.connections_max == 2
    assert made.event.messages_per_connection_max == 100


def test_an_assignment_says_from_where_to_whom_and_until_when() -> None:
    [made] = done(row(), at=desk()).assignments
    event = made.event
    assert (event.attempt, event.egress_id, event.site) == (1, "e1", "site")
    assert (event.ehlo, event.exchangers[0].host) == ("mail.test", "mx.site")
    assert event.not_after.seconds == NOW_S + 120


def test_an_assignment_has_both_addresses_of_its_egress() -> None:
    at = desk()
    at.scopes.set_egresses([Egress("e1", DEFAULT_POOL, "192.0.2.1", "out.test", "2001:db8::1")])
    [made] = done(row(), at=at).assignments
    assert (made.event.source_ip, made.event.source_ipv6) == ("192.0.2.1", "2001:db8::1")
    assert made.event.ehlo == "out.test"


def test_it_can_be_told_again_word_for_word_from_what_its_row_has() -> None:
    claimed = row(attempt=3, tries=2, ambiguous=True)
    [made] = done(claimed, at=desk()).assignments
    again = assigned(Asked("m1", 4, 2, True, made.stored, claimed.envelope))
    assert again == made.event
    assert isinstance(again, DeliveryAssigned)


def test_an_assignment_is_not_good_for_longer_than_its_message() -> None:
    [made] = done(row(expires_s=NOW_S + 5), at=desk()).assignments
    assert made.event.not_after.seconds == NOW_S + 5


def test_a_suppressed_address_ends_before_anybody_is_asked() -> None:
    result = done(row(suppressed=True), at=desk())
    assert [one.state for one in result.closings] == [State.SUPPRESSED]
    assert not result.assignments


def test_the_sandbox_has_an_address_that_is_always_suppressed() -> None:
    result = done(row(site="sandbox", test=True, to="Suppressed+1@example.com"), at=desk())
    assert [one.state for one in result.closings] == [State.SUPPRESSED]
    assert not result.assignments
    assert done(row(to="suppressed@example.com"), at=desk()).assignments


def test_test_mail_leaves_by_the_sandbox_whatever_is_full() -> None:
    at = desk(in_flight_max=0)
    result = done(row(site="sandbox", test=True, suppressed=True), at=at)
    assert [(one.egress_id, one.event.exchangers[0].port) for one in result.assignments] == [
        ("sandbox", 8027)
    ]


def test_a_domain_that_moved_takes_its_mail_to_the_new_site() -> None:
    result = done(row(site="old"), at=desk())
    assert [(one.lane.site, one.due_s) for one in result.relaned] == [("site", NOW_S)]


def test_a_domain_that_is_not_known_any_more_is_asked_for_again() -> None:
    result = done(row(), at=desk(route=None))
    assert [(one.lane.site, one.reason) for one in result.relaned] == [("resolving", "dns")]


def test_messages_spread_over_the_addresses_of_a_pool() -> None:
    result = done(*(row(number) for number in range(10)), at=desk("e1", "e2"))
    assert sorted(one.egress_id for one in result.assignments) == ["e1"] * 5 + ["e2"] * 5


def test_lanes_together_take_no_more_than_their_addresses_have() -> None:
    at = desk("e1", "e2")
    at.scopes.in_flight.load("e1", "site", 9)
    at.scopes.in_flight.load("e2", "site", 7)
    rows = [row(number, lane=Lane(f"tenant{number}", "site").key) for number in range(4)]
    made = done(*rows, at=at).assignments
    assert sorted(one.egress_id for one in made) == ["e1", "e2", "e2", "e2"]


def test_a_retry_stays_with_its_address_and_waits_for_it() -> None:
    at = desk("e1", "e2", in_flight_max=2)
    result = done(*(row(number, egress_id="e2") for number in range(3)), at=at)
    assert [one.egress_id for one in result.assignments] == ["e2", "e2"]
    assert [(one.reason, one.due_s > NOW_S) for one in result.relaned] == [("egress_window", True)]


def test_a_retry_whose_address_is_gone_leaves_by_another() -> None:
    [made] = done(row(egress_id="gone"), at=desk("e1")).assignments
    assert made.egress_id == "e1"


def test_what_nobody_can_read_fails_alone() -> None:
    result = done(row(1), row(2, envelope=b"\xff"), at=desk())
    assert [one.row.message_id for one in result.assignments] == ["m1"]
    assert [(one.message_id, one.reason) for one in result.closings] == [("m2", "unreadable")]


@pytest.mark.parametrize("in_flight_max", [1, 3])
def test_a_window_is_never_overdrawn(in_flight_max: int) -> None:
    at = desk("e1", "e2", in_flight_max=in_flight_max)
    for _ in range(3):
        done(*(row(number) for number in range(5)), at=at)
        assert all(count <= in_flight_max for _, count in at.scopes.in_flight)
