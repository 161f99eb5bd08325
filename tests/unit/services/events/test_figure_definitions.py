"""The documentation and the API have the figures that the code defines."""

import re
from pathlib import Path

from services.events.domain.figures.definitions import (
    COUNTER_NAMES,
    COUNTERS,
    CUBES,
    DEFAULT_METRICS,
    DIMENSIONS,
    METRICS,
    PERCENTILES,
    RATES,
    WITH_MACHINES,
)
from services.events.domain.figures.periods import GRANULARITIES
from services.events.domain.figures.query import DIMENSIONS_BY_KEY
from services.ingest.api.metrics import FILTERS
from services.ingest.api.metrics_schemas import By, Dimension, Granularity, Metric

PAGE = Path(__file__).parents[4] / "docs" / "figures.md"


def table() -> list[str]:
    """The definitions as the page shows them."""
    counters = [f"| `{one.name}` | {one.meaning} | {one.time} |" for one in COUNTERS]
    rates = [f"| `{one.name}` | `{one.numerator}` / `{one.denominator}` |" for one in RATES]
    cubes = [
        f"| {', '.join(f'`{one}`' for one in cube.dimensions)} | {yes(cube.hourly)} |"
        f" {yes(cube.timed)} |"
        for cube in CUBES
    ]
    return [*counters, *rates, *cubes]


def yes(given: bool) -> str:
    return "yes" if given else "no"


def test_the_page_shows_the_definitions() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert [line for line in rows if line in table()] == table()


def test_the_page_names_every_metric_and_dimension() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    assert {*METRICS, *DIMENSIONS, *FILTERS, *GRANULARITIES} - named == set()


def test_the_api_has_the_names_of_the_code() -> None:
    assert Metric.__args__ == METRICS  # type: ignore[attr-defined]
    assert Dimension.__args__ == DIMENSIONS  # type: ignore[attr-defined]
    assert Granularity.__args__ == GRANULARITIES  # type: ignore[attr-defined]
    assert By.__args__ == ("event", "sent")  # type: ignore[attr-defined]
    assert set(FILTERS) == set(DIMENSIONS_BY_KEY)


def test_what_a_figure_results_from_is_counted() -> None:
    used = {name for one in RATES for name in (one.numerator, one.denominator)}
    assert used | set(WITH_MACHINES) | set(WITH_MACHINES.values()) < set(COUNTER_NAMES)
    assert len(set(METRICS)) == len(METRICS)
    on_demand = {"would_hold", "would_pass", *(one.name for one in PERCENTILES)}
    assert set(METRICS) - set(DEFAULT_METRICS) == on_demand
