"""Print tables. Ids are never truncated, so that they can be copied; names are printed as text.

Names come from customers: control characters are escaped, and square brackets are not markup.
"""

import unicodedata
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

PIPED_COLUMNS = 200
# Controls, formats (such as text direction), surrogates, line ends. Unassigned characters are
# printed: a newer Unicode version may define them as emoji.
ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

_terminal = Console()
console = Console(
    highlight=False, soft_wrap=True, width=None if _terminal.is_terminal else PIPED_COLUMNS
)


def id_column(name: str) -> Column:
    return Column(name, no_wrap=True, min_width=36)


def print_table(columns: Sequence[Column | str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def utc_time(text: str) -> str:
    """A time of the API, to the minute."""
    return text[:16].replace("T", " ")


def printable(text: str) -> str:
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in ESCAPED else char
        for char in text
    )
