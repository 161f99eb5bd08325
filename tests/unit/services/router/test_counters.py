"""Which counters are saved, and when."""

from services.router.domain.counters import UNLIMITED_SAVED_S
from services.router.domain.ledger import Ledger, LimitScope, ScopeKind, Suspension
from services.router.domain.limits import NO_LIMITS, Limits

NOW_S = 1_795_000_000.0
TENANT = LimitScope(ScopeKind.TENANT, "a")


class Table:
    """limits: of the tenant."""

    limits = NO_LIMITS

    def limits_of(self, scope: LimitScope, now_s: float) -> Limits:
        return self.limits

    def suspension_of(self, scope: LimitScope, now_s: float) -> Suspension | None:
        return None

    def reason_of(self, scope: LimitScope, limited_by: str, now_s: float) -> str:
        return limited_by


def saved(ledger: Ledger, now_s: float) -> dict[str, int]:
    rows = ledger.drain_changes(now_s)
    return {row.window_key.partition("/")[0]: row.value for row in rows}


def test_a_counter_with_a_limit_is_saved_at_once() -> None:
    table = Table()
    table.limits, ledger = Limits(per_day=100), Ledger(table)
    ledger.reserve([TENANT], 3, now_s=NOW_S)
    assert saved(ledger, NOW_S) == {"per_day": 3}
    assert saved(ledger, NOW_S) == {}


def test_a_counter_without_a_limit_is_saved_some_time_after_its_first_change() -> None:
    ledger = Ledger(Table())
    for number in range(5):
        ledger.reserve([TENANT], 1, now_s=NOW_S + number)
        assert saved(ledger, NOW_S + number) == {}
    assert saved(ledger, NOW_S + UNLIMITED_SAVED_S) == {"per_hour": 5, "per_day": 5}
    assert saved(ledger, NOW_S + 2 * UNLIMITED_SAVED_S) == {}


def test_a_counter_is_saved_with_its_next_change_when_a_limit_is_set() -> None:
    table = Table()
    ledger = Ledger(table)
    ledger.reserve([TENANT], 4, now_s=NOW_S)
    table.limits = Limits(per_hour=10)
    ledger.reserve([TENANT], 1, now_s=NOW_S + 1)
    assert saved(ledger, NOW_S + 1) == {"per_hour": 5}
    assert saved(ledger, NOW_S + UNLIMITED_SAVED_S) == {"per_day": 5}
