"""`obm`: the commands, one module each, imported on demand."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from cli.options import DATA, Data
from kernel.errors import ConfigError, EmbeddedError, Unavailable

# The help texts are repeated here because importing all modules would take seconds.
COMMANDS = {
    "run": "Run the whole engine here: API, pipeline, sandbox, Kafka and PostgreSQL.",
    "up": "Run Kafka and PostgreSQL in the foreground, migrated.",
    "migrate": "Update the schemas and roles of DATABASE_URL, the URL of their owner.",
    "database-urls": "Print the database URLs of the services' roles, with passwords.",
    "acls": "Print what each service may do with the topics, as commands of kafka-acls.sh.",
    "partitions": "Show how many partitions the topics have, or give them more.",
    "rewind": "Let the services read again what was published since a time.",
    "generate-key": "Generate a key for OBM_SECRET_KEYS.",
    "re-encrypt": "Encrypt stored secrets with the first key of OBM_SECRET_KEYS.",
    "account": "Accounts: billing customers.",
    "prices": "Prices: what plans cost, include and admit.",
    "brand": "Brands: the names by which customers know the installation.",
    "tenant": "Tenants: isolated sending units.",
    "key": "API keys.",
    "mailbox": "Mailboxes: usernames and passwords for SMTP submission.",
    "operator-key": "Operator keys: they create accounts and their keys by the API.",
    "domain": "Sending domains.",
    "pool": "Pools: sets of egress sources.",
    "cell": "Cells: sets of pools that processes of the router schedule apart.",
    "egress": "Egress sources: source addresses with their EHLO names.",
    "egress-host": "Let mail leave from the addresses of this machine, for delivery elsewhere.",
    "blocklists": "Block lists: which are known, and who may query them.",
    "warmup": "Warmups: the growth of what new egress sources may send.",
    "overrides": "Overrides: limits and suspensions that end by themselves.",
    "queues": "Scheduled queues: what waits, why, and how to cancel it.",
    "held": "Held mail: what waits for a review, why, and how to release or reject it.",
    "campaigns": "Campaigns: near-identical mail, its complaints, and whether it is held.",
    "learned-versions": "What was learned: its versions, and how to promote or withdraw one.",
    "suppressions": "Suppressions: addresses that mail must not be sent to.",
    "recipient": "Recipients who want to be forgotten.",
    "webhooks": "Webhooks: endpoints that receive events.",
    "usage": "Show what was used in a month.",
    "invoice": "Preview the invoice of a month.",
    "figures": "Figures: what became of mail.",
    "export": "Export events or emails to a file.",
    "tail": "Print the events of emails as they happen.",
    "probe": "Send a canary through each pool every minute, and measure until it is delivered.",
    "doctor": "Check the installation, and print what is wrong and how to mend it.",
    "limits": "Limits: what each scope may use, and what it has used.",
}
IN_STACK = ("up", "migrate", "database-urls")
EPILOG = """Examples:

\b
  obm run                                    run the whole engine, data in ./data
  obm operator-key create                    print a key to set up customers by the API
  obm account create Acme
  obm tenant create shop --account Acme
  obm key create --tenant shop --test        create a key that sends to the sandbox
  obm mailbox create ann@shop.example.net --tenant shop --test
  obm --data /srv/obm account list           use the installation in that folder
"""


class LazyGroup(TyperGroup):
    """Lists the commands without their modules, and imports a module when its command is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - a type of click
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - a type of click
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - a type of click
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def load_command(name: str) -> Any:  # noqa: ANN401 - click's own types, which typer keeps to itself
    """The command group of a noun, or a single command."""
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
    """The console command. Errors that an operator can fix are one line, without a traceback."""
    try:
        app(with_data_first(sys.argv[1:]))
    except (ConfigError, EmbeddedError) as error:
        fail(str(error), error)
    except Unavailable as error:
        fail(database_unavailable(error), error)


def with_data_first(arguments: Sequence[str]) -> list[str]:
    """Move `--data` to the front, so that it works in any position."""
    first: list[str] = []
    rest: list[str] = []
    for argument, previous in zip(arguments, ["", *arguments], strict=False):
        is_data = argument == "--data" or argument.startswith("--data=") or previous == "--data"
        (first if is_data else rest).append(argument)
    return first + rest


def database_unavailable(error: Unavailable) -> str:
    if "DATABASE_URL" in os.environ:
        return f"The database at DATABASE_URL is unavailable ({error})."
    return f"{error} is unavailable. Check that the engine is running."


def fail(line: str, error: Exception) -> NoReturn:
    sys.stderr.write(f"obm: {line}\n")
    raise SystemExit(1) from error
