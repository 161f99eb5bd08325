"""`obm`: composes the nouns; each lives in a module of its own, read when it is asked for."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from cli.options import DATA, Data
from kernel.errors import ConfigError, EmbeddedError, Unavailable

# Their help texts: importing all modules would take seconds.
COMMANDS = {
    "run": "Run the whole engine here: API, pipeline, sandbox, Kafka and PostgreSQL.",
    "up": "Kafka and PostgreSQL in the foreground, migrated.",
    "migrate": "Bring schemas and roles of DATABASE_URL, the owner's address, up to date.",
    "database-urls": "Print the database URLs of the services' roles, with passwords.",
    "generate-key": "Generate a key for OBM_SECRET_KEYS.",
    "account": "Accounts: billing customers.",
    "tenant": "Tenants: isolated sending units.",
    "key": "API keys.",
    "domain": "Sending domains.",
    "pool": "Pools: sets of source addresses.",
    "egress": "Egresses: source addresses with their EHLO names.",
}
IN_STACK = ("up", "migrate", "database-urls")
EPILOG = """Examples:

\b
  obm run                                    the whole engine, data in ./data
  obm account create Acme
  obm tenant create shop --account Acme
  obm key create --tenant shop --test        a key that sends to the sandbox
  obm --data /srv/obm account list           of the engine on that data folder
"""


class LazyGroup(TyperGroup):
    """Imports the module of a command when it is called, and lists them without."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - of click
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - of click
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - of click
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def load(name: str) -> Any:  # noqa: ANN401 - click's own types, which typer keeps to itself
    """A noun with its verbs, or a command that stands alone."""
    attribute = name.replace("-", "_")
    module: Any = import_module("cli.stack" if name in IN_STACK else f"cli.{attribute}")
    if hasattr(module, "app"):
        return typer.main.get_command(module.app)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(getattr(module, attribute))
    return typer.main.get_command(alone)


app = typer.Typer(
    name="obm",
    cls=LazyGroup,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def global_options(data: Data = DATA) -> None:
    """Manage an OBM installation: the one in --data, or the one at DATABASE_URL."""
    os.environ["OBM_DATA"] = str(data)


def main() -> None:
    """The console command. What an operator can put right is one line, not a traceback."""
    try:
        app(with_data_first(sys.argv[1:]))
    except (ConfigError, EmbeddedError) as error:
        fail(str(error), error)
    except Unavailable as error:
        fail(database_unavailable(error), error)


def with_data_first(words: Sequence[str]) -> list[str]:
    """`--data` means the same wherever it stands."""
    first: list[str] = []
    rest: list[str] = []
    for word, before in zip(words, ["", *words], strict=False):
        named = word == "--data" or word.startswith("--data=") or before == "--data"
        (first if named else rest).append(word)
    return first + rest


def database_unavailable(error: Unavailable) -> str:
    if "DATABASE_URL" in os.environ:
        return f"the database that DATABASE_URL names does not respond ({error})"
    return f"{error} does not respond: is the engine running?"


def fail(line: str, error: Exception) -> NoReturn:
    sys.stderr.write(f"obm: {line}\n")
    raise SystemExit(1) from error
