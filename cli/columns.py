"""Columns of the tables that commands print."""

from rich.table import Column


def id_column(name: str) -> Column:
    """Wide enough for a UUID: one that is cut off cannot be pasted."""
    return Column(name, no_wrap=True, min_width=36)
