"""What the bench prints: whole tables and how far it is, on a terminal and in a pipe."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

Tell = Callable[[str, int, int], None]  # phase, done, of
console = Console(highlight=False, markup=False, soft_wrap=True)


def print_table(
    to: Console,
    title: str,
    *,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
) -> None:
    """The first `left` columns hold names, the others numbers. Cells wrap, none is cut off."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, name in enumerate(columns):
        justify = "left" if number < left else "right"
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row)
    to.print(f"\n{title}")
    to.print(table, soft_wrap=False)


@contextmanager
def progress(to: Console) -> Iterator[Tell]:
    """A live line on a terminal; elsewhere a line for each phase that begins."""
    if not to.is_interactive:
        yield tell_phases(to)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=to, transient=True) as bar:
        task = bar.add_task("starting")

        def tell(phase: str, done: int, total: int) -> None:
            bar.update(task, description=phase, completed=done, total=total)

        yield tell


def tell_phases(to: Console) -> Tell:
    told = ""

    def tell(phase: str, done: int, total: int) -> None:
        nonlocal told
        if phase != told:
            to.print(phase)
            told = phase

    return tell
