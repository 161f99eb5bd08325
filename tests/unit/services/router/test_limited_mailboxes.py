"""Mailboxes with limits: by their tenant in the directory, and by an operator."""

from types import SimpleNamespace
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from contracts.ingest.v1.directory_pb2 import Mailbox
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.policies_pb2 import PolicyCommand
from services.router.domain.dispatch import DispatchContext, LimitedSenders, limited_sender
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import Limits
from services.router.domain.message import Priority, ScheduledQueue
from services.router.domain.operator_limits import LimitsChanged
from services.router.domain.policies import MailboxPolicies
from services.router.domain.policy_events import limits_event
from services.router.domain.shaping import SiteLimits
from tests.support.memory_cell import NOW_S, TENANT, MemoryCell, due_message, memory_cell

SCOPE = LimitScope(ScopeKind.MAILBOX, "b1")
ids = st.uuids().map(str)


def cell_with(records: dict[str, Mailbox]) -> MemoryCell:
    policies = MailboxPolicies(records)
    return memory_cell(
        site_limits=SiteLimits(100), policies=[policies], limits_mailbox=policies.is_limited
    )


def sent_by(cell: MemoryCell, at_s: float, ticks: int = 4) -> dict[str, int]:
    """The number of messages of each mailbox."""
    sent = [one for tick in range(ticks) for one in cell.tick(at_s + tick / 10)]
    ids = [MessageContext.FromString(one.row.context).mailbox_id for one in sent]
    return {one: ids.count(one) for one in sorted(set(ids))}


def add(cell: MemoryCell, first: int, mailbox: str) -> None:
    for number in range(10):
        cell.add(due_message(first + number, mailbox=mailbox))


def test_a_limited_mailbox_delays_no_other_mail_of_its_tenant() -> None:
    cell = cell_with({"b1": Mailbox(per_hour_max=3), "b2": Mailbox()})
    for first, mailbox in ((0, "b1"), (100, "b2"), (200, "unknown"), (300, "")):
        add(cell, first, mailbox)
    assert sent_by(cell, NOW_S) == {"": 10, "b1": 3, "b2": 10, "unknown": 10}
    [blocked] = [row.blocked for row in cell.queues.values() if row.blocked]
    assert (blocked.scope, blocked.capacity.limited_by) == (SCOPE, "per_hour")


def test_what_waits_is_sent_once_the_tenant_has_raised_the_limit_or_removed_it() -> None:
    records = {"b1": Mailbox(tenant_id=TENANT, per_hour_max=3)}
    cell = cell_with(records)
    add(cell, 0, "b1")
    assert sent_by(cell, NOW_S) == {"b1": 3}
    records["b1"] = Mailbox(per_hour_max=5)
    cell.cell.on_tenant_changed(TENANT)
    assert sent_by(cell, NOW_S + 1) == {"b1": 2}
    del records["b1"]  # the mailbox is deleted: what it has sent is still delivered
    cell.cell.on_tenant_changed(TENANT)
    assert sent_by(cell, NOW_S + 2) == {"b1": 5}
    assert not cell.tick(NOW_S + 3)


def test_the_smaller_of_the_limits_of_tenant_and_operator_holds() -> None:
    cell = cell_with({"b1": Mailbox(per_hour_max=6)})
    change = LimitsChanged(SCOPE, Limits(per_hour=4), NOW_S, "ann")
    command = PolicyCommand(set_limits=limits_event(change))
    cell.cell.apply_results([], commands=[command], now_s=NOW_S)
    add(cell, 0, "b1")
    assert sent_by(cell, NOW_S) == {"b1": 4}
    cell.take_over(NOW_S + 1)  # the next scheduler knows what was used
    assert not cell.tick(NOW_S + 1)


def test_a_mailbox_that_only_an_operator_limits_has_its_own_queue_too() -> None:
    cell = cell_with({})
    change = LimitsChanged(SCOPE, Limits(per_hour=4), NOW_S, "ann")
    command = PolicyCommand(set_limits=limits_event(change))
    cell.cell.apply_results([], commands=[command], now_s=NOW_S)
    add(cell, 0, "b1")
    add(cell, 100, "b2")
    assert sent_by(cell, NOW_S) == {"b1": 4, "b2": 10}


def test_test_mail_of_a_limited_mailbox_is_not_limited() -> None:
    context = MessageContext(mailbox_id="b1", api_key_id="k1", test=True)
    limits = LimitedSenders({"k1"}, {"b1"})
    everything = cast(DispatchContext, SimpleNamespace(limits_mailbox=lambda _: True))
    assert limited_sender(context, everything, limits) == ("", "")


@given(
    site=st.sampled_from(["site", "unresolved", "google.example"]),
    domain=st.sampled_from(["", "a.example"]),
    priority=st.sampled_from(Priority),
    egress_id=st.just("") | ids,
    key_id=st.just("") | ids,
    mailbox_id=st.just("") | ids,
)
def test_each_queue_has_an_id_of_its_own(
    site: str, domain: str, priority: Priority, egress_id: str, key_id: str, mailbox_id: str
) -> None:  # fmt: skip
    queue = ScheduledQueue(TENANT, site, priority, domain, egress_id, key_id, mailbox_id)
    assert ScheduledQueue.of(queue.queue_id) == queue


def test_a_retry_of_a_limited_mailbox_counts_for_the_mailbox() -> None:
    queue = ScheduledQueue(TENANT, "site", egress_id="e1", mailbox_id="b1")
    cell = memory_cell("e1")
    assert SCOPE in cell.cell.scopes.path_of(queue)
    assert SCOPE in cell.cell.scopes.reservation_path(queue, "e1")
