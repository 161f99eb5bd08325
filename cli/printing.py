"""How commands print: ids whole, since one that is cut off cannot be pasted; names as text.

Names come from customers, who may make API keys themselves: what a terminal obeys is shown escaped,
and square brackets are no markup.
"""

import unicodedata
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

PIPED_COLUMNS = 200
# Controls, formats (those that turn the direction of text among them), halves of characters, ends
# of lines. What Python does not know yet is printed: it may be an emoji.
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


def printable(text: str) -> str:
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in ESCAPED else char
        for char in text
    )
