"""What a plan costs for what was used. Exact: in whole micro-units, and fractions of them."""

from collections.abc import Iterator, Sequence
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from kernel.prices import METERS, MICRO, Meter, MeterName, Plan, Tier, micros_of

MICRO_PER_CENT = MICRO // 100
OPEN_DAYS = 4  # as in events: after it ends, a month still grows for so long


class BilledQuantities(NamedTuple):
    """What was used in a month. sends: of its days. corrections: of earlier months, which were
    closed. domains, mailboxes: the most that were counted on a day."""

    sends: int
    domains: int = 0
    mailboxes: int = 0
    corrections: int = 0


class InvoiceLineItem(NamedTuple):
    """item: plan, corrections, or a meter. billed: units beyond those that are included; amount:
    billed / per * unit_amount, in cents. A correction has the difference that it makes."""

    item: str
    quantity: int
    included: int
    billed: int
    per: int
    unit_amount: str
    cents: int


def invoice_lines(plan: Plan, used: BilledQuantities) -> list[InvoiceLineItem]:
    """Their sum is the invoice: each is rounded to cents, half of one up."""
    lines = [InvoiceLineItem("plan", 1, 0, 1, 1, plan.fee, cents_of(Fraction(micros_of(plan.fee))))]
    for name in METERS:
        if meter := plan.meters.get(name):
            lines += charges(name, meter, int(getattr(used, name)))
    sends = plan.meters.get("sends")
    if sends and used.corrections:
        lines.append(_correction(sends, used))
    return lines


def charges(name: MeterName, meter: Meter, quantity: int) -> list[InvoiceLineItem]:
    """One for each tier that is used; the first one always."""
    billed = max(0, quantity - meter.included)
    if meter.round == "started":
        billed = -(-billed // meter.per) * meter.per
    tiers = list(_units_of_tiers(meter, billed))
    return [
        InvoiceLineItem(
            name, quantity, meter.included, units, meter.per, tier.amount,
            cents_of(Fraction(units * tier.micros, meter.per)),
        )
        for number, (units, tier) in enumerate(tiers)
        if units or not number
    ]  # fmt: skip


def _units_of_tiers(meter: Meter, billed: int) -> Iterator[tuple[int, Tier]]:
    """How many of the billed units are in each tier."""
    begin = meter.included
    for tier in meter.tiers:
        units = billed if tier.up_to is None else min(billed, tier.up_to - begin)
        yield units, tier
        begin, billed = begin + units, billed - units


def _correction(meter: Meter, used: BilledQuantities) -> InvoiceLineItem:
    """They are billed as sends of this month, beside its own."""
    own = charges("sends", meter, used.sends)
    both = charges("sends", meter, max(0, used.sends + used.corrections))
    units = _sum("billed", both) - _sum("billed", own)
    cents = _sum("cents", both) - _sum("cents", own)
    return InvoiceLineItem(
        "corrections", used.corrections, 0, units, meter.per, both[-1].unit_amount, cents
    )


def _sum(name: str, lines: Sequence[InvoiceLineItem]) -> int:
    return sum(getattr(line, name) for line in lines)


def cents_of(micros: Fraction) -> int:
    """Rounded; half of a cent is one."""
    return int((micros / MICRO_PER_CENT + Fraction(1, 2)) // 1)


def decimal_text(cents: int) -> str:
    """Such as 615.35."""
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{rest:02d}"


def month_of(text: str, today: date) -> date:
    """The first day of a month such as 2026-01; the current one without. Raises ValueError, also
    for a later month."""
    current = today.replace(day=1)
    if not text:
        return current
    month = date.fromisoformat(f"{text}-01")
    if len(text) != len("2026-01") or month > current:
        raise ValueError(text)
    return month


def next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)
