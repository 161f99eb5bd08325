"""Invoices to the cent."""

from datetime import date
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kernel.prices import Meter, Plan, Tier, read_prices
from services.ingest.domain.invoice import (
    BilledQuantities,
    charges,
    decimal_text,
    invoice_lines,
    month_of,
    next_month,
)

PLANS = read_prices("").plans(date(2026, 11, 1))
PRO, STARTER = PLANS["pro"], PLANS["starter"]
GOLDEN = BilledQuantities(sends=12_345, domains=3, mailboxes=4)


def total(plan: Plan, used: BilledQuantities) -> str:
    return decimal_text(sum(line.cents for line in invoice_lines(plan, used)))


def test_the_golden_invoice() -> None:
    """599 + 2.345 + 6 + 8."""
    lines = [(one.item, one.billed, decimal_text(one.cents)) for one in invoice_lines(PRO, GOLDEN)]
    assert lines == [
        ("plan", 1, "599.00"),
        ("sends", 2_345, "2.35"),
        ("domains", 3, "6.00"),
        ("mailboxes", 4, "8.00"),
    ]
    assert total(PRO, GOLDEN) == "615.35"


def test_started_thousands() -> None:
    sends = replace(PRO.meters["sends"], round="started")
    plan = replace(PRO, meters={**PRO.meters, "sends": sends})
    assert total(plan, GOLDEN) == "616.00"
    assert total(plan, GOLDEN._replace(sends=12_000)) == "615.00"


@pytest.mark.parametrize(
    ("mailboxes", "amount"),
    [(0, "199.00"), (30, "199.00"), (31, "202.00"), (500, "1609.00"), (700, "2009.00")],
)
def test_mailboxes_of_starter_are_cheaper_beyond_500(mailboxes: int, amount: str) -> None:
    assert total(STARTER, BilledQuantities(0, domains=9, mailboxes=mailboxes)) == amount


def test_each_tier_is_a_line_of_plain_arithmetic() -> None:
    lines = charges("mailboxes", STARTER.meters["mailboxes"], 700)
    assert [(one.billed, one.unit_amount, one.cents) for one in lines] == [
        (470, "3", 141_000),
        (200, "2", 40_000),
    ]
    assert [one.billed for one in charges("mailboxes", STARTER.meters["mailboxes"], 5)] == [0]


def test_corrections_are_billed_beside_the_sends_of_the_month() -> None:
    with_more = GOLDEN._replace(corrections=2_655)
    assert invoice_lines(PRO, with_more)[-1][:4] == ("corrections", 2_655, 0, 2_655)
    assert total(PRO, with_more) == "618.00"  # as 15,000 sends
    assert total(PRO, GOLDEN._replace(corrections=-2_345)) == "613.00"
    assert total(PRO, GOLDEN._replace(corrections=-50_000)) == "613.00"


@given(
    quantity=st.integers(0, 10**9),
    included=st.integers(0, 10**6),
    per=st.sampled_from((1, 3, 1_000)),
    price=st.integers(0, 10**9),
)
def test_a_line_is_the_exact_amount_rounded_half_up(
    quantity: int, included: int, per: int, price: int
) -> None:
    amount = Decimal(price) / 1_000_000
    meter = Meter((Tier(f"{amount:f}"),), included=included, per=per)
    [line] = charges("sends", meter, quantity)
    billed = max(0, quantity - included)
    exact = billed * price  # millionths, times per
    cents, rest = divmod(exact, 10_000 * per)
    assert line.cents == cents + (2 * rest >= 10_000 * per)
    if per != 3:
        wanted = (Decimal(billed) / per * amount).quantize(Decimal("0.01"), ROUND_HALF_UP)
        assert decimal_text(line.cents) == str(wanted)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_never_costs_less(quantity: int, more: int) -> None:
    used = BilledQuantities(quantity, mailboxes=quantity % 1_000)
    assert Decimal(total(STARTER, used)) <= Decimal(
        total(
            STARTER, used._replace(sends=quantity + more, mailboxes=quantity % 1_000 + more % 100)
        )
    )


def test_months() -> None:
    today = date(2026, 12, 31)
    assert month_of("", today) == date(2026, 12, 1)
    assert month_of("2026-02", today) == date(2026, 2, 1)
    assert next_month(today) == date(2027, 1, 1)
    assert next_month(date(2026, 1, 31)) == date(2026, 2, 1)
    for wrong in ("2026-13", "2026-2", "26-01", "2026-01-01", "x", "2027-01", "9999-12"):
        with pytest.raises(ValueError, match=r"."):
            month_of(wrong, today)
