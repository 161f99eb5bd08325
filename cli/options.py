"""Options that more than one command has."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path, typer.Option(envvar="OBM_DATA", help="data folder of the installation")]
DATA = Path("data")


def noun(about: str) -> typer.Typer:
    """A group of commands, plain as `obm` itself."""
    return typer.Typer(
        help=about, no_args_is_help=True, add_completion=False, rich_markup_mode=None
    )
