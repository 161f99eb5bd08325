"""`obm blocklists`: the block lists that can be queried."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import noun
from cli.printing import console, print_table
from kernel.errors import ConfigError
from mail.blocklists import BlocklistConfig, parse_blocklists, shipped

app = noun("Block lists: which are known, and who may query them.")


@app.callback()
def blocklists() -> None:
    """Keeps `lint` a command of its own."""


@app.command()
def lint(
    file: Annotated[
        Path | None, typer.Argument(help="File for OBM_BLOCKLISTS_FILE; without one, the engine's")
    ] = None,
) -> None:
    """Check a file of block lists, and list them with their terms. It fails with all that is wrong.

    \b
    obm blocklists lint blocklists.toml
    """
    try:
        entries = parse_blocklists(shipped(), "" if file is None else file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from error
    print_table(("list", "kinds", "enabled", "key", "weights"), map(row_of, entries))
    for one in entries:
        console.print(f"{one.name}: {one.terms}", markup=False, soft_wrap=True)


def row_of(one: BlocklistConfig) -> tuple[str, ...]:
    weights = sorted({each.weight for each in (*one.answers.values(), *one.bits.values())})
    return (
        one.name,
        " ".join(one.kinds),
        "yes" if one.enabled else "",
        f"{one.key}{'' if one.zone else ', required'}" if one.key else "",
        " ".join(f"{each:g}" for each in weights),
    )
