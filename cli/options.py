"""Options shared by commands."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path, typer.Option(envvar="OBM_DATA", help="Data folder of the installation")]
DATA = Path("data")
AccountOption = Annotated[
    bool, typer.Option("--account-wide", help="For all tenants, with OBM_API_KEY of an account")
]
TenantOption = Annotated[str, typer.Option("--tenant", help="Tenant, by id or name")]


def noun(about: str) -> typer.Typer:
    """A group of commands, without markup."""
    return typer.Typer(
        help=about, no_args_is_help=True, add_completion=False, rich_markup_mode=None
    )
