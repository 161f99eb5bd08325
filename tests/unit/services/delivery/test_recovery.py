"""Decisions about attempts of expired workers."""

from contracts.delivery.v1 import events_pb2 as events
from services.delivery.domain.attempt_result import outcome_of
from services.delivery.domain.recovery import decide_after_expiry, decide_overdue


def test_a_started_attempt_is_sent_while_there_is_time() -> None:
    assert decide_after_expiry("started", left_s=1.0) is None


def test_a_started_attempt_is_stale_afterwards() -> None:
    result = decide_after_expiry("started", left_s=0.0)
    assert result is not None
    assert outcome_of(result) == events.ATTEMPT_OUTCOME_STALE


def test_an_attempt_past_data_sent_is_ambiguous_however_much_time_is_left() -> None:
    result = decide_after_expiry("data_sent", left_s=1000.0)
    assert result is not None
    assert outcome_of(result) == events.ATTEMPT_OUTCOME_AMBIGUOUS


def test_orphans_are_never_sent() -> None:
    assert outcome_of(decide_overdue("started")) == events.ATTEMPT_OUTCOME_STALE
    assert outcome_of(decide_overdue("data_sent")) == events.ATTEMPT_OUTCOME_AMBIGUOUS
