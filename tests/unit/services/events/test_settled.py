"""Up to which position the log is complete, for any transactions that run at the same time."""

from hypothesis import given
from hypothesis import strategies as st

from kernel.ids import NIL
from services.events.domain.settled import CLOCK_DIFFERENCE_MS, SettledPositions


def test_nothing_is_settled_while_an_older_transaction_runs() -> None:
    settled = SettledPositions()
    settled.observe(transaction_id=10, oldest_running=7, began_ms=5_000)
    assert settled.bound == NIL
    settled.observe(transaction_id=12, oldest_running=9, began_ms=6_000)
    assert settled.bound == NIL
    settled.observe(transaction_id=14, oldest_running=11, began_ms=7_000)
    assert settled.bound.int >> 80 == 5_000 - CLOCK_DIFFERENCE_MS
    settled.observe(transaction_id=15, oldest_running=15, began_ms=8_000)
    assert settled.bound.int >> 80 == 8_000 - CLOCK_DIFFERENCE_MS


WRITERS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 10), st.integers(0, 30)), min_size=1, max_size=20
)


@given(writers=WRITERS, polls=st.sets(st.integers(0, 90), min_size=2, max_size=30))
def test_no_position_below_the_bound_appears_later(
    writers: list[tuple[int, int, int]], polls: set[int]
) -> None:
    """Each writer gets its id at a time, its position some time later, and commits after that."""
    starts = sorted([*((at, 0, n) for n, (at, _, _) in enumerate(writers)),
                     *((at, 1, at) for at in polls)])  # fmt: skip
    ids = {(kind, name): number for number, (_, kind, name) in enumerate(starts, 1)}
    ends = {n: at + wait + rest for n, (at, wait, rest) in enumerate(writers)}
    settled = SettledPositions()
    for now in sorted(polls):
        own = ids[1, now]
        running = [ids[0, n] for n, (at, _, _) in enumerate(writers) if at <= now < ends[n]]
        oldest = min([own, *running])
        settled.observe(
            transaction_id=own, oldest_running=oldest, began_ms=now + CLOCK_DIFFERENCE_MS
        )
        bound_ms = settled.bound.int >> 80
        for n, (at, wait, _) in enumerate(writers):
            if at + wait < bound_ms:
                assert ends[n] <= now
