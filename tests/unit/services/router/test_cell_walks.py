"""Random walks of a cell: limits hold by brute force, and no message waits for ever."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_TEMPORARY
from services.router.domain import blocking_scopes, egress
from services.router.domain.dispatch import Assignment
from services.router.domain.limits import Limits
from services.router.domain.message import Priority, ScheduledQueue
from services.router.domain.policies import TenantRouting
from services.router.domain.shaping import SiteLimits
from tests.support.memory_cell import NOW_S, MemoryCell, due_message, memory_cell, sources

TENANTS = [f"tenant{number}" for number in range(4)]
EGRESS_IDS = ("e1", "e2", "e3")
maximum = st.sampled_from([0, 0, 2, 5, 30])
tenant_limits = st.tuples(*[maximum] * 5).map(lambda values: Limits(*values))
site_limits = st.builds(SiteLimits, st.sampled_from([1, 2, 8]), st.sampled_from([0, 0, 2, 30]))


class Walk:
    """A cell, and what left it. sent: the times of assignments, by tenant and by source and site,
    without those that made no connection."""

    def __init__(
        self, limits: dict[str, Limits], site_limits: SiteLimits, *, queues_max: int
    ) -> None:
        self.limits, self.site_limits = limits, site_limits
        self.cell: MemoryCell = memory_cell(
            *EGRESS_IDS,
            site_limits=site_limits,
            routing=lambda tenant: TenantRouting(self.limits.get(tenant, Limits())),
            messages_max=20,
            queues_max=queues_max,
        )
        self.now_s = NOW_S
        self.number = 0
        self.open: dict[str, tuple[Assignment, float]] = {}
        self.sent: dict[object, list[float]] = defaultdict(list)

    def add(self, tenant: str, site: str, priority: Priority, *, count: int) -> None:
        for _ in range(count):
            self.number += 1
            queue_id = ScheduledQueue(tenant, site, priority).queue_id
            row = due_message(self.number, tenant=tenant, site=site, due_s=self.now_s)
            self.cell.add(row._replace(queue_id=queue_id))

    def tick(self, after_s: float) -> None:
        self.now_s += after_s
        for one in self.cell.tick(self.now_s):
            assert one.row.message_id not in self.open
            sticky = ScheduledQueue.of(one.row.queue_id).egress_id
            assert sticky in ("", one.egress_id)
            self.open[one.row.message_id] = (one, self.now_s)
            for key in self.keys(one):
                self.sent[key].append(self.now_s)
        in_flight = Counter(key for one, _ in self.open.values() for key in self.keys(one))
        for key, count in in_flight.items():
            most = self.limits_of(key).in_flight_max
            assert not most or count <= most, key

    def answer(self, nth: int, outcome: str) -> None:
        if not self.open:
            return
        one, assigned_s = self.open.pop(sorted(self.open)[nth % len(self.open)])
        connected = outcome != "not connected"
        self.cell.answer(one, assigned_s=assigned_s, connected=connected)
        if not connected:
            for key in self.keys(one):
                self.sent[key].remove(assigned_s)
        if outcome == "temporary":
            self.cell.results[-1].outcome = ATTEMPT_OUTCOME_TEMPORARY
            queue = ScheduledQueue.of(one.row.queue_id)._replace(egress_id=one.egress_id)
            due_s = self.now_s + 300
            self.cell.add(one.row._replace(queue_id=queue.queue_id, due_s=due_s))

    def keys(self, one: Assignment) -> tuple[object, object]:
        return ScheduledQueue.of(one.row.queue_id).tenant_id, (one.egress_id, one.event.site)

    def limits_of(self, key: object) -> Limits:
        if isinstance(key, str):
            return self.limits.get(key, Limits())
        site = self.site_limits
        return Limits(per_second=site.per_second_max, in_flight_max=site.in_flight_max)

    def assert_windows(self) -> None:
        for key, sent_s in self.sent.items():
            one = self.limits_of(key)
            for width_s, most in ((1 - 1e-6, one.per_second), (60 - 1e-6, one.per_minute)):
                self.assert_window(width_s, most, sent_s)
            for width_s, most in ((3600.0, one.per_hour), (86400.0, one.per_day)):
                self.assert_window(width_s, most, sent_s)

    @staticmethod
    def assert_window(width_s: float, most: int, sent_s: list[float]) -> None:
        for first in set(sent_s) if most else ():
            assert sum(first <= one < first + width_s for one in sent_s) <= most

    def drain(self) -> None:
        """Answer everything, and go from one announced time to the next: nothing may remain."""
        for _ in range(3000):
            while self.open:
                self.answer(0, "delivered")
            if not any(self.cell.rows.values()):
                return
            due_s = min((row.next_s for row in self.cell.queues.values() if row.next_s), default=0)
            next_s = min(self.cell.cell.next_work_s(), due_s or float("inf"))
            assert next_s < float("inf"), "messages wait for nothing"
            self.tick(max(next_s - self.now_s, 0.001))
        raise AssertionError("messages wait for ever")


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.tuples(
                st.sampled_from(TENANTS),
                st.sampled_from(["site-a", "site-b"]),
                st.sampled_from(Priority),
                st.integers(1, 12),
            ),
        ),
        st.tuples(st.just("tick"), st.sampled_from([0.0, 0.02, 0.3, 5.0, 400.0])),
        st.tuples(
            st.just("answer"),
            st.tuples(
                st.integers(0, 50), st.sampled_from(["delivered", "temporary", "not connected"])
            ),
        ),
        st.tuples(st.just("take over"), st.none()),
        st.tuples(st.just("sources"), st.sets(st.sampled_from(EGRESS_IDS), min_size=1)),
    ),
    max_size=40,
)


@pytest.fixture(autouse=True)
def _never_check_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every release must be announced: nothing is found by looking again."""
    for module in (egress, blocking_scopes):
        monkeypatch.setattr(module, "RECHECK_S", 1e9)


@settings(max_examples=60, deadline=None)
@given(
    limits=st.dictionaries(st.sampled_from(TENANTS), tenant_limits),
    site_limits=site_limits,
    queues_max=st.sampled_from([2, 1000]),
    steps=steps,
)
def test_every_limit_holds_and_every_message_leaves(
    limits: dict[str, Limits],
    site_limits: SiteLimits,
    queues_max: int,
    steps: list[tuple[str, object]],
) -> None:
    walk = Walk(limits, site_limits, queues_max=queues_max)
    for step, given_ in steps:
        match step, given_:
            case "add", (str(tenant), str(site), Priority() as priority, int(count)):
                walk.add(tenant, site, priority, count=count)
            case "tick", float(after_s):
                walk.tick(after_s)
            case "answer", (int(nth), str(outcome)):
                walk.answer(nth, outcome)
            case "take over", _:
                walk.cell.take_over(walk.now_s)
            case "sources", set(used):
                walk.cell.sources = sources(*sorted(used))
                walk.cell.cell.replace_sources(walk.cell.sources, now_s=walk.now_s)
    walk.drain()
    walk.assert_windows()
