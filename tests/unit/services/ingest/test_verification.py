"""The states of a domain, by rules that hold for every sequence of checks."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ingest.v1.directory_pb2 import Domain
from services.ingest.domain.verification import (
    DELAYS,
    ESTABLISHED,
    FAILED,
    NOT_STARTED,
    PARTIALLY_FAILED,
    PARTIALLY_VERIFIED,
    PENDING,
    VERIFIED,
    WINDOW,
    RecordCheckResult,
    RecordCheckResults,
    VerificationProgress,
    decide,
    delay_to_next,
    may_send,
    restart_schedule,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
RIGHT = RecordCheckResults(RecordCheckResult.RIGHT, RecordCheckResult.RIGHT)
NO_DKIM = RecordCheckResults(RecordCheckResult.WRONG, RecordCheckResult.RIGHT)
NO_RETURN_PATH = RecordCheckResults(RecordCheckResult.RIGHT, RecordCheckResult.WRONG)
SERVFAIL = RecordCheckResults(RecordCheckResult.UNKNOWN, RecordCheckResult.UNKNOWN)
NEW = VerificationProgress(NOT_STARTED, START)
ANY = st.builds(
    RecordCheckResults, st.sampled_from(RecordCheckResult), st.sampled_from(RecordCheckResult)
)
STEPS = st.lists(st.tuples(ANY, st.floats(0, 20)), max_size=40)


def run(
    state: VerificationProgress, found: RecordCheckResults, hours: float
) -> VerificationProgress:
    return decide(state, found, START + hours * HOUR)


def test_a_new_domain_is_checked_often_then_hourly_until_72_hours_have_passed() -> None:
    state, now, delays = NEW, START + DELAYS[0], [DELAYS[0]]
    while state.status != FAILED:
        state = decide(state, NO_DKIM, now)
        if delay := delay_to_next(state):
            delays.append(delay)
            now += delay
    assert [delay.total_seconds() / 60 for delay in delays[:7]] == [1, 2, 5, 10, 30, 60, 60]
    assert WINDOW <= now - START < WINDOW + HOUR
    assert delay_to_next(state) is None
    again = restart_schedule(state, now)
    assert (again.status, delay_to_next(again)) == (PENDING, DELAYS[0])
    assert decide(again, NO_DKIM, now).status == PENDING


def test_dkim_alone_is_partially_verified_and_all_records_are_verified() -> None:
    assert run(NEW, NO_RETURN_PATH, 0.1).status == PARTIALLY_VERIFIED
    assert run(NEW, RIGHT, 0.1).status == VERIFIED


def test_two_failures_an_hour_apart_are_reported_and_one_is_not() -> None:
    verified = run(NEW, RIGHT, 0)
    once = run(verified, NO_RETURN_PATH, 1)
    assert once.status == VERIFIED
    assert run(once, NO_RETURN_PATH, 1.5).status == VERIFIED
    assert run(once, NO_RETURN_PATH, 2).status == PARTIALLY_FAILED
    assert run(run(once, RIGHT, 1.5), NO_RETURN_PATH, 2).status == VERIFIED


def test_a_domain_is_paused_when_its_dkim_records_are_gone_for_24_hours() -> None:
    state = run(run(NEW, RIGHT, 0), NO_DKIM, 1)
    for hour in range(2, 25):
        state = run(state, NO_DKIM, hour)
        assert not state.paused
    state = run(state, NO_DKIM, 25)
    assert state.paused
    assert delay_to_next(state) == HOUR
    assert run(state, RIGHT, 26) == VerificationProgress(VERIFIED, START, state.checks + 1)


@given(STEPS)
def test_a_failed_lookup_changes_nothing_but_the_count(
    steps: list[tuple[RecordCheckResults, float]],
) -> None:
    state, hours = NEW, 0.0
    for found, passed in steps:
        hours += passed
        state = run(state, found, hours)
        after = run(state, SERVFAIL, hours + 100)
        assert after == VerificationProgress(
            state.status, state.started_at, state.checks + 1, state.failing_since,
            state.dkim_missing_since, state.paused,
        )  # fmt: skip


@given(STEPS)
def test_only_a_complete_check_lets_a_domain_send_and_only_missing_dkim_stops_it(
    steps: list[tuple[RecordCheckResults, float]],
) -> None:
    state, hours, verified = NEW, 0.0, False
    right_dkim = START
    for found, passed in steps:
        hours += passed
        now = START + hours * HOUR
        verified = verified or found == RIGHT
        known = RecordCheckResult.UNKNOWN not in (found.dkim, found.others)
        if known and found.dkim is RecordCheckResult.RIGHT:
            right_dkim = now
        state = decide(state, found, now)
        sends = may_send(Domain(status=state.status, paused=state.paused))  # type: ignore[arg-type]
        assert sends <= verified
        if verified:
            assert state.status in ESTABLISHED
        if verified and not sends:
            assert now - right_dkim >= timedelta(hours=24)
        delay = delay_to_next(state)
        assert (delay is None) == (state.status == FAILED)
        assert delay is None or delay <= HOUR


@pytest.mark.parametrize("status", [NOT_STARTED, PENDING, PARTIALLY_VERIFIED, FAILED])
def test_live_mail_is_sent_from_verified_domains_only(status: int) -> None:
    assert not may_send(Domain(status=status))  # type: ignore[arg-type]
    assert may_send(Domain(status=VERIFIED))
    assert not may_send(Domain(status=VERIFIED, paused=True))
    assert may_send(Domain()), "added before domains had a status"
