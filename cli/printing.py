"""How commands print: ids whole, since one that is cut off cannot be pasted."""

from rich.console import Console
from rich.table import Column

PIPED_COLUMNS = 200

_terminal = Console()
console = Console(
    highlight=False, soft_wrap=True, width=None if _terminal.is_terminal else PIPED_COLUMNS
)


def id_column(name: str) -> Column:
    return Column(name, no_wrap=True, min_width=36)
