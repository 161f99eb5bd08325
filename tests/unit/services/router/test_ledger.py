"""The ledger: reservations fit every scope together, in every window, whoever owns the cell."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.domain.counters import CounterRow
from services.router.domain.ledger import (
    SWEPT_MAX,
    USAGES_MIN,
    Ledger,
    LimitScope,
    Path,
    ScopeKind,
    Suspension,
)
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.policies import CombinedPolicies, egress_site_scope, least_limits
from services.router.domain.reasons import WaitReason

START_S = 1_795_000_000.0
ENGINE = LimitScope(ScopeKind.ENGINE, "")


@dataclass
class Table:
    """Policies from a dictionary."""

    limits: dict[LimitScope, Limits] = field(default_factory=dict)
    suspended: dict[LimitScope, Suspension] = field(default_factory=dict)
    kinds: tuple[ScopeKind, ...] = tuple(ScopeKind)
    reason: str = ""

    def limits_of(self, scope: LimitScope, _: float) -> Limits:
        return self.limits.get(scope, NO_LIMITS)

    def suspension_of(self, scope: LimitScope, now_s: float) -> Suspension | None:
        found = self.suspended.get(scope)
        return found if found and now_s < found.until_s else None

    def reason_of(self, _: LimitScope, limited_by: str, __: float) -> str:
        return limited_by


def tenant(name: str = "a") -> LimitScope:
    return LimitScope(ScopeKind.TENANT, name)


def path(name: str, egress: str) -> Path:
    return (
        tenant(name),
        LimitScope(ScopeKind.WARMUP, egress),
        egress_site_scope(egress, "site"),
        ENGINE,
    )


PATHS = [path(name, egress) for name in "ab" for egress in ("e1", "e2")]
SCOPES = sorted({scope for one in PATHS for scope in one})
maximum = st.sampled_from([0, 0, 1, 3, 10, 40])
limits = st.tuples(*[maximum] * 4, st.sampled_from([0, 0, 2, 20])).map(
    lambda values: Limits(*values)
)


class Books:
    """A ledger, and what was really assigned, for comparison by brute force."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.ledger = Ledger(table)
        self.saved: dict[tuple[str, str], CounterRow] = {}
        self.sent: dict[LimitScope, list[float]] = defaultdict(list)
        self.in_flight: list[tuple[Path, float, int]] = []

    def reserve(self, one: Path, wanted: int, *, now_s: float, partial: bool) -> None:
        booked = self.ledger.reserve(one, wanted, now_s=now_s, partial=partial)
        assert booked in range(wanted + 1)
        assert partial or booked in (0, wanted)
        if booked:
            self.in_flight.append((one, now_s, booked))
            for scope in one:
                self.sent[scope] += [now_s] * booked
        self.save()

    def answer(self, index: int, *, connected: bool, now_s: float) -> None:
        one, at_s, count = self.in_flight.pop(index % len(self.in_flight))
        self.ledger.release(one, count)
        if not connected:
            self.ledger.refund(one, count, spent_at_s=at_s, now_s=now_s)
            for scope in one:
                for _ in range(count):
                    self.sent[scope].remove(at_s)
        self.save()

    def save(self) -> None:
        self.saved |= {(row.scope, row.window_key): row for row in self.ledger.drain_changes(0.0)}

    def change_owner(self, now_s: float) -> None:
        self.ledger = Ledger(self.table)
        self.ledger.load(row for row in self.saved.values() if row.expires_s > now_s)
        for one, _, count in self.in_flight:
            self.ledger.load_in_flight(one, count)

    def assert_within_limits(self) -> None:
        for scope in SCOPES:
            one, sent_s = self.table.limits_of(scope, 0.0), self.sent[scope]
            count = sum(count for path_, _, count in self.in_flight if scope in path_)
            assert self.ledger.in_flight(scope) == count
            for width_s, most in (
                *((1.0 - 1e-6, one.per_second), (60.0 - 1e-6, one.per_minute)),
                *((3600.0, one.per_hour), (86400.0, one.per_day)),
            ):
                assert not most or max_in_window(width_s, sent_s) <= most, (scope, width_s)
            assert not one.in_flight_max or count <= one.in_flight_max


def max_in_window(width_s: float, sent_s: Sequence[float]) -> int:
    """By brute force: the maximum in any window that begins with a message."""
    return max(
        (sum(first <= one < first + width_s for one in sent_s) for first in set(sent_s)), default=0
    )


steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.01, 0.3, 1.0, 40.0, 900.0, 30_000.0]),
        st.sampled_from(["some", "all", "some", "answer", "not connected", "owner"]),
        st.sampled_from(PATHS),
        st.integers(1, 30),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(table=st.dictionaries(st.sampled_from(SCOPES), limits), steps=steps)
def test_no_limit_is_exceeded_in_any_window_even_across_owners(
    table: dict[LimitScope, Limits], steps: list[tuple[float, str, Path, int]]
) -> None:
    books, now_s = Books(Table(table)), START_S
    for interval_s, step, one, number in steps:
        now_s += interval_s
        if step in ("some", "all"):
            books.reserve(one, number, now_s=now_s, partial=step == "some")
        elif step == "owner":
            books.change_owner(now_s)
        elif books.in_flight:
            books.answer(number, connected=step == "answer", now_s=now_s)
    books.assert_within_limits()


@given(
    table=st.dictionaries(st.sampled_from(SCOPES), limits), steps=steps, number=st.integers(1, 9)
)
def test_a_canceled_reservation_leaves_every_capacity_as_it_was(
    table: dict[LimitScope, Limits], steps: list[tuple[float, str, Path, int]], number: int
) -> None:
    ledger, now_s = Ledger(Table(table)), START_S
    for interval_s, _, one, wanted in steps:
        now_s += interval_s
        ledger.reserve(one, wanted, now_s=now_s, partial=True)
    one = PATHS[0]
    before = [ledger.capacity(scope, now_s=now_s) for scope in SCOPES]
    booked = ledger.reserve(one, number, now_s=now_s, partial=True)
    ledger.undo_reservation(one, booked, now_s=now_s)
    after = [ledger.capacity(scope, now_s=now_s) for scope in SCOPES]
    assert [one.available for one in after] == [one.available for one in before]


def test_a_scope_without_capacity_leaves_the_others_of_its_path_untouched() -> None:
    table = Table(
        {tenant(): Limits(per_hour=100), egress_site_scope("e1", "site"): Limits(per_day=3)}
    )
    ledger = Ledger(table)
    assert ledger.reserve(path("a", "e1"), 5, now_s=START_S) == 0
    assert ledger.capacity(tenant(), now_s=START_S).available == 100
    assert not ledger.drain_changes(0.0)
    assert ledger.reserve(path("a", "e1"), 5, now_s=START_S, partial=True) == 3
    assert ledger.capacity(tenant(), now_s=START_S).available == 97


def test_a_suspended_scope_has_no_capacity_until_it_ends() -> None:
    scope = egress_site_scope("e1", "site")
    ledger = Ledger(Table(suspended={scope: Suspension(START_S + 60)}))
    capacity = ledger.capacity(scope, now_s=START_S)
    assert (capacity.available, capacity.available_at_s) == (0, START_S + 60)
    assert capacity.limited_by == WaitReason.SUSPENDED
    assert ledger.capacity(scope, now_s=START_S + 60).available > 0


def test_messages_of_a_tenant_count_before_it_has_a_limit() -> None:
    table = Table()
    ledger = Ledger(table)
    ledger.reserve(path("a", "e1"), 8, now_s=START_S)
    table.limits[tenant()] = Limits(per_hour=10)
    assert ledger.capacity(tenant(), now_s=START_S + 1).available == 2


def test_a_message_that_made_no_connection_is_refunded_where_it_was_counted() -> None:
    ledger = Ledger(Table({tenant(): Limits(per_hour=10)}))
    ledger.reserve([tenant()], 10, now_s=START_S)
    assert ledger.capacity(tenant(), now_s=START_S + 700).available == 0
    ledger.refund([tenant()], 4, spent_at_s=START_S, now_s=START_S + 700)
    assert ledger.capacity(tenant(), now_s=START_S + 700).available == 4


def test_accounts_of_idle_scopes_are_dropped() -> None:
    ledger = Ledger(Table({tenant("0"): Limits(per_second=5)}))
    for number in range(USAGES_MIN + 1):
        ledger.reserve([tenant(str(number))], 1, now_s=START_S)
        ledger.release([tenant(str(number))], 1)
    for number in range(USAGES_MIN // SWEPT_MAX + 2):
        before = len(ledger)
        ledger.reserve([tenant("new")], 1, now_s=START_S + (3 + number) * 86400)
        assert len(ledger) >= before - SWEPT_MAX, (
            "a reservation waits for the check of all accounts"
        )
    assert len(ledger) == 1


def test_accounts_that_were_loaded_are_not_checked_at_once() -> None:
    """With a hundred thousand of them, the first tick of a scheduler would outlast its lease."""
    ledger = Ledger(Table())
    row = CounterRow("", "per_hour/1", 5, START_S + 60)
    ledger.load(row._replace(scope=tenant(str(number)).key) for number in range(USAGES_MIN * 2))
    ledger.reserve([tenant("new")], 1, now_s=START_S + 3 * 86400)
    assert len(ledger) == USAGES_MIN * 2 + 1


def test_counters_of_an_unknown_scope_are_ignored() -> None:
    ledger = Ledger(Table())
    unknown = CounterRow("planet/mars", "per_hour/1", 5, START_S + 60)
    later = CounterRow("tenant/a", "per_century/1", 5, START_S + 60)
    ledger.load([unknown, later])
    assert len(ledger) <= 1


def test_of_several_policies_the_least_limit_and_the_longest_suspension_apply() -> None:
    scope = tenant()
    first = Table({scope: Limits(per_second=5, per_hour=100)}, {scope: Suspension(START_S + 1)})
    second = Table({scope: Limits(per_hour=50, per_day=9)}, {scope: Suspension(START_S + 2)})
    combined = CombinedPolicies([Table(), first, second])
    assert combined.limits_of(scope, START_S) == Limits(per_second=5, per_hour=50, per_day=9)
    assert combined.suspension_of(scope, START_S) == Suspension(START_S + 2)
    local = Limits(per_day=9, day_zone="Europe/Berlin")
    assert not least_limits(local, Limits(per_day=8)).day_zone
    assert least_limits(local, Limits(per_hour=8)).day_zone == "Europe/Berlin"
    assert least_limits(local, Limits(per_day=8, day_zone="Europe/Rome")).day_zone == ""
    assert least_limits(local, local) == local
