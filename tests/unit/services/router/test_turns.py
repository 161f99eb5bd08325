"""What becomes of open lanes after a tick."""

from collections.abc import Callable
from math import inf

from services.router.domain.fairness import OpenLane, Parked
from services.router.domain.turns import BUSY_MAX, LINGER_S, Busy, Left, Turn, end_turn
from services.router.domain.windows import Room

NOW_S = 1_795_000_000.0
TENANT = "019ab000-0000-7000-8000-00000000000a"
EMPTY = Left(worked=True, due_s=None)
MORE = Left(worked=True, due_s=NOW_S - 1)
LATER = Left(worked=True, due_s=NOW_S + 60)


def lane(site: str = "site") -> OpenLane:
    return OpenLane.of(f"{TENANT}/{site}", 1)


def ended(
    left: dict[OpenLane, Left | None],
    *,
    busy: Busy | None = None,
    at_s: float = NOW_S,
    shut_by: Callable[[OpenLane], Parked | None] = lambda _: None,
) -> Turn:
    """None: its turn did not come."""
    return end_turn(
        list(left),
        {lane.key: rest for lane, rest in left.items() if rest},
        parked=[],
        shut_by=shut_by,
        busy=busy or Busy(),
        now_s=at_s,
    )


def test_a_lane_that_is_empty_is_closed() -> None:
    turn = ended({lane(): EMPTY})
    assert turn.served == [(lane(), None)]
    assert turn.opens_s == inf


def test_a_lane_that_has_work_later_opens_then() -> None:
    turn = ended({lane(): LATER})
    assert turn.served == [(lane(), NOW_S + 60)]
    assert turn.opens_s == NOW_S + 60


def test_a_lane_that_has_more_to_send_stays_as_it_is_and_is_looked_at_at_once() -> None:
    turn = ended({lane(): MORE})
    assert (turn.served, turn.opens_s) == ([], NOW_S)


def test_a_lane_whose_turn_did_not_come_is_before_all_others_the_next_time() -> None:
    turn = ended({lane("a"): MORE, lane("b"): EMPTY, lane("c"): None})
    assert turn.served == [(lane("a"), NOW_S), (lane("b"), None)]
    assert turn.opens_s == NOW_S


def test_a_lane_that_is_refused_waits_in_a_ring_only_if_it_has_more() -> None:
    def shut_by(one: OpenLane) -> Parked:
        return Parked(one.key, "pool", Room(0))

    turn = ended({lane("a"): MORE, lane("b"): LATER}, shut_by=shut_by)
    assert [one.key for one in turn.parked] == [lane("a").key]
    assert turn.served == [(lane("b"), NOW_S + 60)]


def test_a_lane_that_is_given_work_again_and_again_stays_open_for_a_moment() -> None:
    busy = Busy()
    assert ended({lane(): EMPTY}, busy=busy).served
    again_s = NOW_S + LINGER_S / 2
    turn = ended({lane(): EMPTY}, busy=busy, at_s=again_s)
    assert (turn.served, turn.opens_s) == ([], again_s + LINGER_S)
    idle = Left(worked=False, due_s=None)
    assert not ended({lane(): idle}, busy=busy, at_s=again_s + LINGER_S / 2).served
    assert ended({lane(): idle}, busy=busy, at_s=again_s + LINGER_S * 1.1).served == [
        (lane(), None)
    ]


def test_a_lane_with_a_message_now_and_then_is_closed_each_time() -> None:
    busy = Busy()
    for number in range(5):
        assert ended({lane(): EMPTY}, busy=busy, at_s=NOW_S + number).served == [(lane(), None)]


def test_busy_lanes_are_forgotten_before_they_fill_the_memory() -> None:
    busy = Busy()
    for number in range(BUSY_MAX + 1):
        busy.stays(str(number), worked=True, now_s=NOW_S)
    assert not busy.stays("0", worked=True, now_s=NOW_S)
