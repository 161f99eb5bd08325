"""The price book: the prices in force on a day, and all that is wrong with a file."""

import re
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import ConfigError
from kernel.prices import MICRO, micros_of, parse_prices, read_prices

OWN = (Path(__file__).parents[3] / "kernel/prices.toml").read_text()
TODAY = date(2026, 11, 29)
LATER = """
[[prices]]
effective_from = 2027-01-01
[prices.plans.pro]
name = "Pro"
fee = "649.50"
[prices.plans.starter]
name = "Starter"
fee = "199"
"""


def test_the_own_prices_are_those_of_the_price_page() -> None:
    plans = read_prices("").plans(TODAY)
    starter, pro = plans["starter"], plans["pro"]
    assert (starter.fee, pro.fee) == ("199", "599")
    assert starter.features == {"smtp"}
    assert pro.features == {"api", "smtp", "white_label", "dedicated_ips"}
    assert (starter.meters["mailboxes"].included, pro.meters["sends"].included) == (30, 10_000)
    assert [tier.amount for tier in pro.meters["domains"].tiers] == ["2"]
    assert (pro.retention_days, pro.quota.is_hard) == (30, False)


def test_prices_are_in_force_from_their_day() -> None:
    book = parse_prices(OWN + LATER)
    fees = {day: book.plans(day)["pro"].fee for day in (date(2027, 1, 1), TODAY, date(2020, 1, 1))}
    assert list(fees.values()) == ["649.50", "599", "599"]
    assert book.find("large", TODAY) is None


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"599"', "599.0", "plan pro: Expected `str`, got `float` - at `$.fee`"),
        ('"599"', '"1e3"', "plan pro: Expected `str` matching regex"),
        ('["smtp"]', '["smpt"]', "plan starter: Invalid enum value 'smpt' - at `$.features[0]`"),
        ('fee = "599"', 'fees = "599"', "plan pro: Object contains unknown field `fees`"),
        ("retention_days = 30", "retention_days = 0", "Expected `int` >= 1"),
        ("up_to = 500", "up_to = 20", "mailboxes: up_to must grow"),
        ("up_to = 500, ", "", "mailboxes: all tiers but the last need up_to"),
        ("2026-01-01", "2026-01-02", "effective_from must be the first day of a month"),
        ('currency = "USD"', "", "missing required field `currency`"),
        ('currency = "USD"', 'currency = "USD"\nvat = 1', "unknown field `vat`"),
        ("[prices.plans.pro]", '[prices.plans.pro]\nquota = {enforcement = "hard"}', "needs month"),
        (OWN, 'currency = "USD"\nprices = [1]', "Expected `object`, got `int`"),
        (OWN, 'currency = "USD"', "missing required field `prices`"),
        (
            OWN,
            'currency = "USD"\n[[prices]]\neffective_from = 2026-01-01\nplans = {}',
            "there are no plans",
        ),
        (OWN, OWN + LATER.replace("2027", "2025"), "must follow in order"),
        (OWN, OWN + LATER.partition("[prices.plans.starter]")[0], "the plan starter is gone"),
    ],
)
def test_a_fault_is_found(old: str, new: str, fault: str) -> None:
    assert old in OWN
    with pytest.raises(ValueError, match=re.escape(fault)):
        parse_prices(OWN.replace(old, new, 1))


def test_all_faults_are_found_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)plan starter.*\n.*plan pro"):
        parse_prices(OWN.replace('fee = "599"', "").replace('fee = "199"', ""))


def test_a_file_that_cannot_be_read_is_an_error_of_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="OBM_PRICES_FILE"):
        read_prices(str(tmp_path / "missing.toml"))


@given(st.integers(0, 10**15 - 1))
def test_amounts_are_exact(micros: int) -> None:
    assert micros_of(f"{Decimal(micros) / MICRO:f}") == micros


@given(st.text(max_size=300))
def test_any_text_gives_prices_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        parse_prices(text)
