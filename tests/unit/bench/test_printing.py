"""Progress and tables of the bench without a terminal."""

import io

from rich.console import Console

from bench.printing import print_table, progress


def pipe() -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, width=80, soft_wrap=True), written


def test_a_pipe_gets_a_line_per_phase() -> None:
    console, written = pipe()
    with progress(console) as report_progress:
        for done in range(3):
            report_progress("engine: warm-up", done, 3)
        report_progress("engine: full load", 0, 9)
    assert written.getvalue() == "engine: warm-up\nengine: full load\n"


def test_a_terminal_gets_a_transient_progress_line() -> None:
    written = io.StringIO()
    console = Console(file=written, width=80, force_terminal=True, force_interactive=True)
    with progress(console) as report_progress:
        report_progress("engine: warm-up", 1, 3)
    assert "engine: warm-up" in written.getvalue()
    assert written.getvalue().endswith("\x1b[2K")


def test_a_long_name_wraps() -> None:
    console, written = pipe()
    print_table(console, "T", columns=("", "a"), rows=[("x" * 100, "1")])
    assert written.getvalue().count("x") == 100
    assert max(map(len, written.getvalue().splitlines())) <= 80
