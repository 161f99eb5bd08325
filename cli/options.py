"""Options that more than one command has."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path, typer.Option(envvar="OBM_DATA", help="where everything durable lives")]
DATA = Path("data")
