"""The report over several turns."""

import io
from dataclasses import asdict, replace

from rich.console import Console

from bench.cpu import busy_seconds, milliseconds_each, own_ticks, parent
from bench.profiling import digest
from bench.report import Report, medians, show
from bench.turns import Turn


def turn(name: str, per_second: float) -> Turn:
    return Turn(
        name,
        per_second,
        accept_ms={"mean": 9.0, "p50": 8.0, "p99": 20.0},
        cpu_ms={"router": per_second / 1000},
        accepted=10,
        delivered=10,
        duplicates=0,
        outcomes={"accepted": 10},
        sampled=1,
        verified=1,
        rest_mb={"router": 90.0},
        load_mb={"router": 120.0},
        peak_mb={"router": 130.0},
        steady_accept_ms={"mean": 2.0, "p50": 1.5, "p99": 11.0},
        first_attempt_ms={"mean": 12.0, "p50": 10.0, "p99": 30.0},
    )


NAMES = ("engine", "postfix", "postfix-rspamd")
PROCESSES = ("ingest", "delivery", "webhook receiver", "rest of the machine")


def printed_report(turns: int) -> str:
    """The output of a long run with all peers, in a pipe."""
    long = dict.fromkeys(PROCESSES, 1234.5)
    found = {
        name: [
            replace(turn(name, 1600), accepted=100_000, sampled=1030, verified=1030, cpu_ms=long)
            for _ in range(turns)
        ]
        for name in NAMES
    }
    pipe = io.StringIO()
    show(Report(found, 0.24), Console(file=pipe, width=80, soft_wrap=True))
    return pipe.getvalue()


def test_tables_fit_in_80_columns_and_in_a_pipe() -> None:
    text = printed_report(turns=5)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "\x1b" not in text
    for whole in (*NAMES, *PROCESSES, "500000", "5150 of 5150", "1.00 times"):
        assert whole in text


def test_many_turns_wrap() -> None:
    text = printed_report(turns=25)
    assert max(map(len, text.splitlines())) <= 80
    assert text.split().count("1600") == len(NAMES) * (25 + 1)


def test_the_json_names_medians_of_turns_and_ratios_to_peers() -> None:
    turns = {
        "engine": [turn("engine", rate) for rate in (400, 900, 500)],
        "postfix-rspamd": [turn("postfix-rspamd", 200)],
    }
    document = Report(turns, 0.3).as_json()
    assert document.pop("turns") == {name: list(map(asdict, each)) for name, each in turns.items()}
    assert document == {
        "delivered_per_s": 500,
        "accept_ms": {"mean": 2.0, "p50": 1.5, "p99": 11.0},
        "first_attempt_ms": {"p50": 10.0, "p99": 30.0},
        "cpu_ms_per_message": {"router": 0.5},
        "memory_mb": {
            "rest": {"router": 90.0},
            "load": {"router": 120.0},
            "peak": {"router": 130.0},
        },
        "signature_ms": 0.3,
        "peers": {"postfix-rspamd": {"delivered_per_s": 200}},
        "ratios": {"postfix-rspamd": 2.5},
    }


def test_peers_without_the_engine_have_no_ratio() -> None:
    document = Report({"postfix": [turn("postfix", 600)]}, 0.3).as_json()
    assert document["peers"] == {"postfix": {"delivered_per_s": 600}}
    assert document["ratios"] == {}
    assert "delivered_per_s" not in document


def test_a_measure_that_one_turn_lacks_is_the_median_of_the_others() -> None:
    assert medians([{"p50": 1.0}, {}, {"p50": 3.0}]) == {"p50": 2.0}


def test_a_process_name_with_brackets_and_blanks_is_parsed() -> None:
    stat = "71 (a) (b c) S 17 71 71 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1"
    assert parent(stat) == 17
    assert own_ticks(stat) == 127


def test_io_wait_is_not_cpu_time() -> None:
    assert busy_seconds("cpu  100 0 100 5000 700 0 100 0 0 0\ncpu0 …") > 0
    idle, waits = "cpu  0 0 0 5000 0 0 0 0 0 0", "cpu  0 0 0 0 700 0 0 0 0 0"
    assert busy_seconds(idle) == busy_seconds(waits) == 0


def test_cpu_is_reported_per_message() -> None:
    assert milliseconds_each({"a": 1.0}, {"a": 3.0}, 1000) == {"a": 2.0}
    assert milliseconds_each({"a": 1.0}, {"a": 3.0}, 0) == {}


def test_a_profile_lists_own_and_total_time_by_function() -> None:
    raw = "main (a.py:1);work (b.py:7) 3\nmain (a.py:2);work (b.py:9) 1\nmain (a.py:3) 4\n"
    text = digest(raw, "router")
    assert "router: 8 samples" in text
    assert " 50.0% work (b.py)" in text
    assert "100.0% main (a.py)" in text
