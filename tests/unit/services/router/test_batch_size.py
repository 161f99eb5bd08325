"""How many messages a tick takes on."""

from services.router.domain.batch_size import PROMPT_PART, PROMPT_S, SIZE_MIN, BatchSizeController

NOW_S = 1_795_000_000.0


def after(
    batch: BatchSizeController, per_message_s: float, *, fixed_s: float = 0.01, ticks: int = 30
) -> int:
    """The size after full ticks with these costs."""
    for _ in range(ticks):
        took_s = fixed_s + batch.size * per_message_s
        batch.record(messages=batch.size, queues=0, took_s=took_s, now_s=NOW_S)
    return batch.size


def test_a_full_tick_takes_about_as_long_as_it_should() -> None:
    batch = BatchSizeController(500, target_s=0.04)
    assert 0.035 < 0.01 + after(batch, 0.0002) * 0.0002 < 0.045
    assert 0.035 < 0.01 + after(batch, 0.0008) * 0.0008 < 0.045


def test_the_size_stays_within_its_bounds() -> None:
    assert after(BatchSizeController(500, target_s=0.04), 0.00001) == 500
    assert after(BatchSizeController(500, target_s=0.04), 1.0) == SIZE_MIN
    assert (
        BatchSizeController(3, target_s=0.04).size
        == after(BatchSizeController(3, target_s=0.04), 1.0)
        == 3
    )


def test_a_tick_with_little_to_do_changes_nothing() -> None:
    batch = BatchSizeController(500, target_s=0.04)
    size = batch.size
    batch.record(messages=size - 1, queues=0, took_s=10.0, now_s=NOW_S)
    assert batch.size == size


def test_queues_that_turn_out_to_be_blocked_count_too() -> None:
    batch = BatchSizeController(500, target_s=0.04)
    size = batch.size
    batch.record(messages=0, queues=batch.queues_max(1000), took_s=10.0, now_s=NOW_S)
    assert batch.size < size


def test_a_tick_that_fails_is_followed_by_a_smaller_one() -> None:
    batch = BatchSizeController(500, target_s=0.04)
    sizes = [batch.size]
    for _ in range(10):
        batch.record_failure()
        sizes.append(batch.size)
    assert sizes[1] == sizes[0] // 2
    assert sizes[-1] == SIZE_MIN


def test_one_slow_tick_halves_the_size_at_most() -> None:
    batch = BatchSizeController(500, target_s=0.04)
    size = batch.size
    batch.record(messages=size, queues=0, took_s=60.0, now_s=NOW_S)
    assert batch.size >= size // 2


def test_ticks_are_shorter_while_mail_is_assigned_promptly() -> None:
    batch = BatchSizeController(500, target_s=0.06)
    backlog_alone = after(batch, 0.0002)
    batch.record_prompt(NOW_S)
    assert 0.9 < (0.01 + after(batch, 0.0002) * 0.0002) / (0.06 * PROMPT_PART) < 1.1
    batch.record_prompt(NOW_S - PROMPT_S)
    assert after(batch, 0.0002) == backlog_alone
