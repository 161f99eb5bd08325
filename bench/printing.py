"""Print tables and progress, on a terminal or in a pipe."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

ReportProgress = Callable[[str, int, int], None]  # phase, done, of
console = Console(highlight=False, markup=False, soft_wrap=True)


def print_table(
    to: Console,
    title: str,
    *,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
) -> None:
    """The first `left` columns are aligned left, the others right. Long cells wrap."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, name in enumerate(columns):
        justify = "left" if number < left else "right"
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row)
    to.print(f"\n{title}")
    to.print(table, soft_wrap=False)


@contextmanager
def progress(to: Console) -> Iterator[ReportProgress]:
    """A live progress line on a terminal; in a pipe one line per phase."""
    if not to.is_interactive:
        yield print_phases(to)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=to, transient=True) as bar:
        task = bar.add_task("starting")

        def report_progress(phase: str, done: int, total: int) -> None:
            bar.update(task, description=phase, completed=done, total=total)

        yield report_progress


def print_phases(to: Console) -> ReportProgress:
    printed = ""

    def report_progress(phase: str, done: int, total: int) -> None:
        nonlocal printed
        if phase != printed:
            to.print(phase)
            printed = phase

    return report_progress
