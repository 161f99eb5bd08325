"""The table of answers, row by row."""

from itertools import pairwise

import pytest

from contracts.delivery.v1.events_pb2 import (
    OUTCOME_AMBIGUOUS,
    OUTCOME_DELIVERED,
    OUTCOME_PERMANENT,
    OUTCOME_STALE,
    OUTCOME_TEMPORARY,
    DeliveryAttempted,
    Outcome,
    Reply,
)
from contracts.router.v1.events_pb2 import CLOSED_STATE_BOUNCED, MessageClosed, MessageDelayed
from services.router.domain.answer import (
    NOW_S as AT_ONCE,
)
from services.router.domain.answer import (
    AnswerPolicy,
    Move,
    Moved,
    is_ambiguous,
    settle,
    settle_alone,
    strike,
    told,
)
from services.router.domain.message import Assigned, State
from services.router.domain.retry import SCHEDULE_S, RetryPolicy

NOW_S = 1_795_000_000.0
ID = "019ab000-0000-7000-8000-000000000001"
POLICY = AnswerPolicy(RetryPolicy())


def row(*, tries: int = 0, expires_s: float = NOW_S + 3600) -> Assigned:
    return Assigned(ID, tries + 1, tries, expires_s)


def answer(
    outcome: "Outcome.ValueType",
    *,
    code: int = 0,
    bounce_class: str = "",
    connected: bool = True,
    test: bool = False,
    step: str = "",
) -> DeliveryAttempted:
    return DeliveryAttempted(
        message_id=ID,
        attempt=1,
        tenant_id="t",
        recipient="ann@example.com",
        outcome=outcome,
        reply=Reply(code=code, text="text", step=step),
        bounce_class=bounce_class,
        connected=connected,
        ambiguous=outcome == OUTCOME_AMBIGUOUS,
        test=test,
    )


def settled(assigned: Assigned, event: DeliveryAttempted, policy: AnswerPolicy = POLICY) -> Move:
    return settle(event, assigned, now_s=NOW_S, policy=policy)


def saved(move: Move, *, tries: int = 0, ambiguous: bool = False) -> Moved:
    """The row that had so many tries and such a flag, after the move."""
    flagged = ambiguous or is_ambiguous(move.event)
    return Moved(ID, 1, tries + move.tried, flagged, NOW_S)


def test_2xx_after_the_dot_is_delivered() -> None:
    move = settled(row(), answer(OUTCOME_DELIVERED, code=250))
    assert (move.state, move.tried) == (State.DELIVERED, 1)
    assert isinstance(told(move, saved(move)), MessageClosed)


def test_a_permanent_refusal_is_bounced_and_its_class_strikes() -> None:
    move = settled(row(), answer(OUTCOME_PERMANENT, code=550, bounce_class="invalid_recipient"))
    assert move.state is State.BOUNCED
    struck = strike(move)
    assert struck is not None
    assert struck.strikes == 1


@pytest.mark.parametrize("bounce_class", ["spam_block", "policy_related", "uncategorized", "new"])
def test_a_refusal_of_the_sender_does_not_speak_against_the_address(bounce_class: str) -> None:
    move = settled(row(), answer(OUTCOME_PERMANENT, code=550, bounce_class=bounce_class))
    assert strike(move) is None


def test_test_mail_strikes_nobody() -> None:
    event = answer(OUTCOME_PERMANENT, code=550, bounce_class="invalid_recipient", test=True)
    assert strike(settled(row(), event)) is None


def test_what_was_never_said_to_anybody_is_failed_not_bounced() -> None:
    event = answer(OUTCOME_PERMANENT, bounce_class="private_address", connected=False)
    move = settled(row(), event)
    assert (move.state, move.reason) == (State.FAILED, "private_address")


def test_a_temporary_refusal_waits_by_the_schedule_and_is_told() -> None:
    for tries, wait_s in enumerate([*SCHEDULE_S, SCHEDULE_S[-1]]):
        late = row(tries=tries, expires_s=NOW_S + 1e6)
        move = settled(late, answer(OUTCOME_TEMPORARY, code=451))
        assert (move.state, move.tried) == (State.WAITING, 1)
        assert 0.9 * wait_s <= move.due_s - NOW_S <= 1.1 * wait_s
        delayed = told(move, saved(move, tries=tries))
        assert isinstance(delayed, MessageDelayed)
        assert delayed.tries == tries + 1


@pytest.mark.parametrize("step", ["connect", "greeting", "ehlo", "starttls"])
def test_a_connection_that_did_not_come_about_is_no_try(step: str) -> None:
    event = answer(OUTCOME_TEMPORARY, code=421, step=step)
    for untried, wait_s in enumerate(SCHEDULE_S, 1):
        late = Assigned(ID, 3 + untried, 3, NOW_S + 1e6)
        move = settled(late, event)
        assert (move.state, move.tried, move.reason) == (State.WAITING, 0, "unreachable")
        assert 0.9 * wait_s <= move.due_s - NOW_S <= 1.1 * wait_s


def test_a_host_that_nobody_ever_reached_has_bounced_nothing() -> None:
    event = answer(OUTCOME_TEMPORARY, step="connect", connected=False)
    assert settled(row(expires_s=NOW_S), event).state is State.FAILED
    assert settled(row(tries=1, expires_s=NOW_S), event).state is State.BOUNCED


def test_greylisting_is_no_try() -> None:
    move = settled(row(tries=2), answer(OUTCOME_TEMPORARY, code=451, bounce_class="greylisted"))
    assert (move.state, move.tried, move.reason) == (State.WAITING, 0, "greylisted")


def test_who_greylists_for_ever_is_retried_like_any_other() -> None:
    late = row()._replace(attempt=50)
    event = answer(OUTCOME_TEMPORARY, code=451, bounce_class="greylisted")
    event.attempt = late.attempt
    move = settled(late, event)
    assert (move.state, move.tried, move.reason) == (State.WAITING, 1, "retry")


def test_a_stale_assignment_waits_no_longer_and_is_told_to_nobody() -> None:
    move = settled(row(), answer(OUTCOME_STALE, connected=False))
    assert (move.state, move.tried, move.due_s) == (State.WAITING, 0, AT_ONCE)
    assert told(move, saved(move)) is None


def test_an_ambiguous_attempt_waits_flagged_or_fails_by_the_tenants_choice() -> None:
    move = settled(row(), answer(OUTCOME_AMBIGUOUS))
    assert (move.state, is_ambiguous(move.event)) == (State.WAITING, True)
    cautious = AnswerPolicy(RetryPolicy(), ambiguous_fails=True)
    move = settled(row(), answer(OUTCOME_AMBIGUOUS), cautious)
    assert (move.state, is_ambiguous(move.event)) == (State.FAILED, True)


def test_the_flag_of_an_earlier_attempt_stays() -> None:
    move = settled(row(), answer(OUTCOME_DELIVERED, code=250))
    closed = told(move, saved(move, ambiguous=True))
    assert isinstance(closed, MessageClosed)
    assert closed.ambiguous


def test_out_of_time_after_a_try_is_bounced() -> None:
    move = settled(row(expires_s=NOW_S - 1), answer(OUTCOME_TEMPORARY, code=451))
    assert (move.state, move.reason) == (State.BOUNCED, "expired")
    closed = told(move, saved(move))
    assert isinstance(closed, MessageClosed)
    assert closed.state == CLOSED_STATE_BOUNCED


@pytest.mark.parametrize("outcome", [OUTCOME_DELIVERED, OUTCOME_PERMANENT, OUTCOME_STALE])
def test_what_an_answer_says_by_itself_no_row_changes(outcome: "Outcome.ValueType") -> None:
    event = answer(outcome, code=550)
    assert settle_alone(event) == settled(row(tries=3, expires_s=NOW_S - 1), event)


@pytest.mark.parametrize("outcome", [OUTCOME_TEMPORARY, OUTCOME_AMBIGUOUS])
def test_whether_there_is_another_try_only_the_row_says(outcome: "Outcome.ValueType") -> None:
    assert settle_alone(answer(outcome, code=451)) is None


def test_the_same_decision_comes_out_of_the_same_answer() -> None:
    event = answer(OUTCOME_TEMPORARY, code=451)
    assert settled(row(), event) == settled(row(), event)


def test_a_receiver_that_never_takes_it_is_asked_by_the_schedule_until_time_is_up() -> None:
    """Conventions C1 #14: attempts by the schedule, and one end."""
    assigned, now_s, asked_s = row(expires_s=NOW_S + 72 * 3600), NOW_S, [NOW_S]
    while True:
        event = answer(OUTCOME_TEMPORARY, code=451)
        event.attempt = assigned.attempt
        move = settle(event, assigned, now_s=now_s, policy=POLICY)
        if move.state is not State.WAITING or move.due_s >= assigned.expires_s:
            break
        now_s = move.due_s
        asked_s.append(now_s)
        assigned = assigned._replace(
            attempt=assigned.attempt + 1, tries=assigned.tries + move.tried
        )
    waits = [after - before for before, after in pairwise(asked_s)]
    wanted = [*SCHEDULE_S, *[SCHEDULE_S[-1]] * 100][: len(waits)]
    assert all(0.9 * plan <= wait <= 1.1 * plan for wait, plan in zip(waits, wanted, strict=True))
    assert 20 <= len(asked_s) <= 28
