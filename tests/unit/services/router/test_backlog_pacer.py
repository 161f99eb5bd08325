"""Backlogs leave at intervals while other tenants have prompt mail."""

from services.router.domain.backlog_pacer import (
    INTERVAL_S,
    PROMPT_AGE_S,
    PROMPT_S,
    BacklogPacer,
)
from services.router.domain.deficit_round_robin import ActiveQueue
from services.router.domain.shaping import SiteLimits
from tests.support.memory_cell import MemoryCell, due_message, memory_cell

NOW_S = 1_795_000_000.0
BACKLOG = "b/site/bulk"


def record_prompt(pacer: BacklogPacer, now_s: float, tenant_id: str = "a") -> None:
    pacer.record_due(tenant_id, [due_message(due_s=now_s)], now_s=now_s)


def is_paced(pacer: BacklogPacer, now_s: float, queue_id: str = BACKLOG) -> bool:
    """Whether this queue, which has old messages, is paced."""
    active = [ActiveQueue.of(queue_id, 1)]
    return queue_id in pacer.backlog(active, lambda *_: True, now_s=now_s)


def test_backlogs_have_a_turn_in_each_interval() -> None:
    pacer = BacklogPacer()
    assert [pacer.begin_turn(NOW_S + part * INTERVAL_S) for part in (0, 0.5, 1, 1.5)] == [
        True,
        False,
        True,
        False,
    ]


def test_a_backlog_is_paced_for_the_prompt_mail_of_other_tenants_only() -> None:
    pacer = BacklogPacer()
    assert not is_paced(pacer, NOW_S)
    record_prompt(pacer, NOW_S, "b")
    assert not is_paced(pacer, NOW_S)
    record_prompt(pacer, NOW_S + 1, "a")
    assert is_paced(pacer, NOW_S + 1)
    for at_s in (2, 3):
        record_prompt(pacer, NOW_S + at_s, "b")
    assert is_paced(pacer, NOW_S + 3)
    assert is_paced(pacer, NOW_S + 3, "a/site")
    record_prompt(pacer, NOW_S + 4, "c")
    assert all(is_paced(pacer, NOW_S + 4, f"{one}/site") for one in "abc")
    assert not is_paced(pacer, NOW_S + 4 + PROMPT_S)


def test_old_mail_is_not_prompt() -> None:
    pacer = BacklogPacer()
    pacer.record_due("a", [due_message(due_s=NOW_S - PROMPT_AGE_S)], now_s=NOW_S)
    assert not pacer.has_prompt(NOW_S)
    assert not is_paced(pacer, NOW_S)


# ── the whole cell ──────────────────────────────────────────────────────────────────────────────


def sent(cell: MemoryCell, now_s: float) -> dict[str, int]:
    tenants = [one.row.queue_id.partition("/")[0] for one in cell.tick(now_s)]
    return {one: tenants.count(one) for one in tenants}


def with_prompt_mail_and_a_backlog(tenant: str) -> MemoryCell:
    cell = memory_cell(site_limits=SiteLimits(10_000))
    cell.add(due_message(1, tenant="prompt", due_s=NOW_S))
    assert sent(cell, NOW_S) == {"prompt": 1}
    for number in range(100, 2000):
        cell.add(due_message(number, tenant=tenant, due_s=NOW_S - PROMPT_AGE_S - 1))
    return cell


def test_a_paced_backlog_is_not_blocked_and_is_served_again_soon() -> None:
    cell = with_prompt_mail_and_a_backlog("backlog")
    cell.add(due_message(2, tenant="prompt", due_s=NOW_S))
    found = sent(cell, NOW_S)
    assert found["prompt"] == 1
    assert found["backlog"] > 100
    for at_s in (NOW_S + 0.02, NOW_S + 0.05):
        assert cell.cell.next_work_s() == NOW_S + INTERVAL_S
        cell.add(due_message(int(at_s * 1000), tenant="prompt", due_s=at_s))
        assert sent(cell, at_s) == {"prompt": 1}
    assert not any(row.blocked for row in cell.queues.values())
    assert sent(cell, NOW_S + INTERVAL_S)["backlog"] > 100
    assert sent(cell, NOW_S + INTERVAL_S) == {}
    alone_s = NOW_S + PROMPT_S + 1
    assert [sent(cell, alone_s)["backlog"] > 100 for _ in range(3)] == [True] * 3


def test_mail_that_becomes_due_between_the_turns_of_backlogs_is_on_time() -> None:
    cell = with_prompt_mail_and_a_backlog("backlog")
    due_s = NOW_S + INTERVAL_S / 2
    cell.add(due_message(2, tenant="prompt", due_s=NOW_S))
    cell.add(due_message(3, tenant="prompt", due_s=due_s))
    assert sent(cell, NOW_S)["prompt"] == 1
    assert cell.cell.next_work_s() <= due_s
    assert sent(cell, due_s) == {"prompt": 1}


def test_the_prompt_mail_of_a_tenant_does_not_slow_down_its_own_backlog() -> None:
    cell = with_prompt_mail_and_a_backlog("prompt")
    assert [sent(cell, NOW_S)["prompt"] > 100 for _ in range(3)] == [True] * 3
