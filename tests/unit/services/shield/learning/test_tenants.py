"""How far a tenant is trusted."""

import pytest

from services.shield.domain.learning.tenants import (
    DELIVERED_MAX,
    TenantReputation,
    add_mail,
    is_trusted,
    log_odds,
    weight,
)


def test_nobody_knows_a_new_tenant() -> None:
    assert log_odds(TenantReputation()) == 0
    assert not is_trusted(TenantReputation())
    assert weight(TenantReputation()) == 1


@pytest.mark.parametrize(
    ("record", "odds"),
    [
        (TenantReputation(delivered=50_000), -3.0),
        (TenantReputation(delivered=9_000, complaints=9_000), 0.0),
        (TenantReputation(delivered=9_000, complaints=999_000), 3.0),
        (TenantReputation(delivered=1_000, complaints=3_000), 0.693),
    ],
)
def test_complaints_per_delivery_decide(record: TenantReputation, odds: float) -> None:
    assert log_odds(record) == pytest.approx(odds, abs=0.001)


def test_trust_needs_campaigns_and_few_complaints() -> None:
    good = TenantReputation(delivered=50_000, complaints=10_000, released=10)
    assert is_trusted(good)
    assert not is_trusted(good._replace(released=4))
    assert not is_trusted(good._replace(held=1))
    assert not is_trusted(good._replace(complaints=40_000))


def test_who_has_taught_much_teaches_less() -> None:
    assert weight(TenantReputation(released=15, held=5)) == 0.5


def test_the_latest_mail_counts() -> None:
    record = add_mail(TenantReputation(delivered=DELIVERED_MAX, complaints=8_000), 1, 0)
    assert record == TenantReputation(delivered=DELIVERED_MAX // 2, complaints=4_000)
    assert add_mail(TenantReputation(delivered=1), -5, 0).delivered == 0
