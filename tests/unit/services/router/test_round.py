"""The next state of active queues after a tick."""

from collections.abc import Callable
from math import inf

from services.router.domain.deficit_round_robin import ActiveQueue, BlockedQueue
from services.router.domain.dispatch import QueueAfterDispatch
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import Capacity
from services.router.domain.round import (
    STAYS_ACTIVE_S,
    TRACKED_MAX,
    LastTurns,
    RecentQueues,
    Round,
    finish_round,
)

NOW_S = 1_795_000_000.0
TENANT = "019ab000-0000-7000-8000-00000000000a"
EMPTY = QueueAfterDispatch(was_served=True, due_s=None)
MORE = QueueAfterDispatch(was_served=True, due_s=NOW_S - 1)
LATER = QueueAfterDispatch(was_served=True, due_s=NOW_S + 60)


def queue(site: str = "site", first_due_s: float = NOW_S - 1) -> ActiveQueue:
    return ActiveQueue.of(f"{TENANT}/{site}", 1, first_due_s)


def finished_round(
    remainders: dict[ActiveQueue, QueueAfterDispatch | None],
    *,
    recent: RecentQueues | None = None,
    is_complete: bool = False,
    at_s: float = NOW_S,
    blocked_by: Callable[[ActiveQueue], BlockedQueue | None] = lambda _: None,
) -> Round:
    """remainders: None for a queue that was not served."""
    return finish_round(
        list(remainders),
        {queue.queue_id: remainder for queue, remainder in remainders.items() if remainder},
        blocked=[],
        as_blocked=blocked_by,
        recent=recent or RecentQueues(),
        is_complete=is_complete,
        now_s=at_s,
    )


def test_an_empty_queue_is_deactivated() -> None:
    finished = finished_round({queue(): EMPTY})
    assert finished.served == [(queue(), None, None)]
    assert finished.next_due_s == inf


def test_the_next_express_mail_is_known_beside_a_backlog_of_bulk_mail() -> None:
    bulk, waiting = queue("site/bulk"), queue("other/bulk")
    finished = finished_round({queue(): LATER, bulk: MORE, waiting: None})
    assert (finished.next_due_s, finished.express_due_s) == (NOW_S, NOW_S + 60)
    assert finished_round({queue(): None, bulk: MORE}).express_due_s == NOW_S
    assert finished_round({bulk: MORE}).express_due_s == inf


def test_a_queue_whose_next_message_is_due_later_is_due_then() -> None:
    finished = finished_round({queue(): LATER})
    assert finished.served == [(queue(), NOW_S + 60, NOW_S + 60)]
    assert finished.next_due_s == NOW_S + 60


def test_a_queue_with_more_to_send_stays_active_and_is_due_at_once() -> None:
    finished = finished_round({queue(): MORE})
    assert (finished.served, finished.next_due_s) == ([], NOW_S)


def test_the_first_due_time_of_a_queue_that_is_not_written_otherwise_lags_by_a_second() -> None:
    assert not finished_round({queue(first_due_s=NOW_S - 1.9): MORE}).served
    lagging = queue(first_due_s=NOW_S - 2.1)
    assert finished_round({lagging: MORE}).served == [(lagging, NOW_S, NOW_S - 1)]


def test_the_first_due_time_of_a_blocked_queue_lags_by_a_second() -> None:
    def blocked_by(one: ActiveQueue) -> BlockedQueue:
        return BlockedQueue(one.queue_id, LimitScope(ScopeKind.POOL, "pool"), Capacity(0))

    lagging = queue(first_due_s=NOW_S - 2.1)
    finished = finished_round({lagging: MORE}, blocked_by=blocked_by)
    assert finished.served == [(lagging, NOW_S, NOW_S - 1)]
    assert [one.queue_id for one in finished.blocked] == [lagging.queue_id]
    assert finished.next_due_s == inf


def test_a_queue_that_was_not_served_comes_first_in_the_next_round() -> None:
    finished = finished_round({queue("a"): MORE, queue("b"): EMPTY, queue("c"): None})
    assert finished.served == [(queue("a"), NOW_S, NOW_S - 1), (queue("b"), None, None)]
    assert finished.next_due_s == NOW_S


def test_a_queue_is_not_moved_in_the_database_when_all_were_read() -> None:
    finished = finished_round(
        {queue("a"): MORE, queue("b"): EMPTY, queue("c"): None}, is_complete=True
    )
    assert finished.served == [(queue("b"), None, None)]
    assert finished.next_due_s == NOW_S
    lagging = queue("a", first_due_s=NOW_S - 2.1)
    finished = finished_round({lagging: MORE, queue("c"): None}, is_complete=True)
    assert finished.served == [(lagging, NOW_S, NOW_S - 1)]


def test_queues_that_are_not_moved_take_turns() -> None:
    turns, queues = LastTurns(), [queue(name) for name in "abcde"]
    served: list[str] = []
    for _ in range(5):
        some = turns.sort(queues)[:2]
        served += [one.queue.site for one in some]
        turns.record(queues, {one.queue_id: MORE for one in some})
    assert set(served[:6]) == {*"abcde"}
    assert min(map(served.count, "abcde")) >= 1


def test_a_queue_that_was_not_active_meanwhile_comes_first() -> None:
    turns, (one, two) = LastTurns(), (queue("a"), queue("b"))
    turns.record([one, two], {one.queue_id: MORE})
    turns.record([two], {two.queue_id: MORE})
    assert turns.sort([two, one]) == [one, two]


def test_a_queue_is_read_from_its_first_row_until_it_has_new_work() -> None:
    turns, one = LastTurns(), queue(first_due_s=NOW_S - 9)
    quotas = {one.queue_id: 3}
    assert turns.to_read([one, queue("b")], quotas) == [(one.queue_id, 3, NOW_S - 9)]
    turns.record([one], {one.queue_id: MORE})
    [read] = turns.to_read([one], quotas)
    assert NOW_S - 1.01 < read.first_due_s < NOW_S - 1
    turns.record([one], {})
    assert turns.to_read([one], quotas) == [read]
    newer = one._replace(version=2, first_due_s=NOW_S - 30)
    assert turns.to_read([newer], quotas) == [(one.queue_id, 3, NOW_S - 30)]


def test_a_limited_queue_is_blocked_only_if_it_has_more() -> None:
    def blocked_by(one: ActiveQueue) -> BlockedQueue:
        return BlockedQueue(one.queue_id, LimitScope(ScopeKind.POOL, "pool"), Capacity(0))

    finished = finished_round({queue("a"): MORE, queue("b"): LATER}, blocked_by=blocked_by)
    assert [one.queue_id for one in finished.blocked] == [queue("a").queue_id]
    assert finished.served == [(queue("b"), NOW_S + 60, NOW_S + 60)]


def test_a_queue_that_often_receives_messages_stays_active_while_it_is_empty() -> None:
    recent = RecentQueues()
    assert finished_round({queue(): EMPTY}, recent=recent).served
    again_s = NOW_S + STAYS_ACTIVE_S / 2
    finished = finished_round({queue(): EMPTY}, recent=recent, at_s=again_s)
    assert (finished.served, finished.next_due_s) == ([], again_s + STAYS_ACTIVE_S)
    idle = QueueAfterDispatch(was_served=False, due_s=None)
    assert not finished_round(
        {queue(): idle}, recent=recent, at_s=again_s + STAYS_ACTIVE_S / 2
    ).served
    assert finished_round(
        {queue(): idle}, recent=recent, at_s=again_s + STAYS_ACTIVE_S * 1.1
    ).served == [(queue(), None, None)]


def test_a_queue_that_rarely_receives_messages_is_deactivated_when_it_is_empty() -> None:
    recent = RecentQueues()
    for number in range(5):
        assert finished_round({queue(): EMPTY}, recent=recent, at_s=NOW_S + number).served == [
            (queue(), None, None)
        ]


def test_the_number_of_tracked_queues_is_bounded() -> None:
    recent = RecentQueues()
    for number in range(TRACKED_MAX + 1):
        recent.stays_active(str(number), was_served=True, now_s=NOW_S)
    assert not recent.stays_active("0", was_served=True, now_s=NOW_S)
