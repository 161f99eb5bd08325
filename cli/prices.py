"""`obm prices`: the plans of the price book."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import noun
from cli.printing import console, print_table
from kernel.errors import ConfigError
from kernel.prices import Meter, Plan, parse_prices, read_prices

app = noun("Prices: what plans cost, include and admit.")


@app.callback()
def prices() -> None:
    """Keeps `lint` a command of its own."""


@app.command()
def lint(
    file: Annotated[
        Path | None, typer.Argument(help="Price book; by default the engine's own")
    ] = None,
) -> None:
    """Check a price book, and list its plans. It fails with all that is wrong, one fault a line.

    \b
    obm prices lint prices.toml
    """
    try:
        book = read_prices("") if file is None else parse_prices(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from error
    print_table(
        ("from", "plan", "fee", "features", "sends", "domains", "mailboxes", "quota", "days kept"),
        (
            row_of(str(one.effective_from), plan_id, plan)
            for one in book.prices
            for plan_id, plan in sorted(one.plans.items())
        ),
    )
    console.print(f"All amounts are in {book.currency}.")


def row_of(start: str, plan_id: str, plan: Plan) -> list[str]:
    meters = (plan.meters.get(name) for name in ("sends", "domains", "mailboxes"))
    quota = [
        f"{number:,} a {span}"
        for span, number in (("month", plan.quota.month), ("day", plan.quota.day))
        if number
    ]
    return [
        start,
        plan_id,
        plan.fee,
        " ".join(sorted(plan.features)),
        *(text_of(one) if one else "free" for one in meters),
        f"{', '.join(quota)} ({plan.quota.enforcement})" if quota else "",
        str(plan.retention_days),
    ]


def text_of(meter: Meter) -> str:
    """Such as `10,000 + 1 per 1,000`."""
    per = f" per {meter.per:,}" if meter.per > 1 else ""
    tiers = [
        f"{one.amount}{per}" + (f" to {one.up_to:,}" if one.up_to else "") for one in meter.tiers
    ]
    if meter.round == "started":
        tiers[-1] += ", started"
    return ", ".join([f"{meter.included:,} + {tiers[0]}", *tiers[1:]])
