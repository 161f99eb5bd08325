"""The comparison of two commits."""

import io

from rich.console import Console

from bench.child import Json
from bench.comparison import Pair, as_json, compare, in_turn, show


def result(rate: float, **cpu: float) -> dict[str, Json]:
    return {"delivered_per_s": rate, "cpu_ms_per_message": {**cpu}, "peers": {}, "commit": "a"}


PAIRS = [
    Pair(result(110, router=0.2, sink=0.1), result(100, router=0.4, sink=0.0)),
    Pair(result(300, router=0.3, sink=0.1), result(200, router=0.3, sink=0.1)),
    Pair(result(90, router=0.2, sink=0.1), result(100, router=0.2, sink=0.1)),
]


def test_the_order_of_the_sides_alternates() -> None:
    order = [in_turn(number, ["new", "old"]) for number in range(3)]
    assert order == [["new", "old"], ["old", "new"], ["new", "old"]]


def test_the_ratio_is_the_median_of_the_pairs_ratios() -> None:
    rate = compare(PAIRS)[0]
    assert (rate.figure, rate.new, rate.old) == ("delivered_per_s", 110, 100)
    assert rate.ratios == (1.1, 1.5, 0.9)
    assert rate.median == 1.1


def test_a_zero_figure_has_no_ratio() -> None:
    sink = next(row for row in compare(PAIRS) if row.figure == "cpu_ms_per_message sink")
    assert sink.ratios == (None, 1.0, 1.0)
    assert sink.median == 1.0


def test_a_figure_of_one_side_only_is_omitted() -> None:
    pairs = [Pair(result(1, router=1.0, shield=1.0), result(1, router=1.0))]
    assert [row.figure for row in compare(pairs)] == [
        "delivered_per_s",
        "cpu_ms_per_message router",
    ]


def test_the_json_has_the_ratios_and_both_results() -> None:
    written = as_json(PAIRS)
    ratios = written["ratios"]
    assert isinstance(ratios, dict)
    assert ratios["delivered_per_s"] == {"pairs": [1.1, 1.5, 0.9], "median": 1.1}
    assert written["pairs"] == [{"new": pair.new, "old": pair.old} for pair in PAIRS]


def test_any_number_of_pairs_fits_in_80_columns() -> None:
    pipe = io.StringIO()
    show(PAIRS * 12, Console(file=pipe, width=80, soft_wrap=True))
    text = pipe.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert text.split().count("1.50") == 12
