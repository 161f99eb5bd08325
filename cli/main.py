"""`obm`: composes the nouns; each lives in a module of its own."""

import os
import sys
from typing import NoReturn

import typer

from cli import account, domain, egress, key, pair, pool, run, secret, tenant
from cli.options import DATA, Data
from kernel.embedded import EmbeddedError
from kernel.errors import BadSetting, Unavailable

app = typer.Typer(name="obm", no_args_is_help=True, add_completion=False, rich_markup_mode=None)
app.command("run")(run.run)
app.command("up")(pair.up)
app.command("migrate")(pair.migrate)
app.command("roles")(pair.roles)
app.command("secret")(secret.secret)
app.add_typer(account.app, name="account")
app.add_typer(tenant.app, name="tenant")
app.add_typer(key.app, name="key")
app.add_typer(domain.app, name="domain")
app.add_typer(pool.app, name="pool")
app.add_typer(egress.app, name="egress")


@app.callback()
def everywhere(data: Data = DATA) -> None:
    """The engine, and what is kept in it: of a running `obm run`, or of DATABASE_URL."""
    os.environ["OBM_DATA"] = str(data)


def main() -> None:
    """The console command. What an operator can put right is one line, not a traceback."""
    try:
        app()
    except (BadSetting, EmbeddedError) as error:
        fail(str(error), error)
    except Unavailable as error:
        fail(f"{error} does not answer: is the engine running?", error)


def fail(line: str, error: Exception) -> NoReturn:
    sys.stderr.write(f"obm: {line}\n")
    raise SystemExit(1) from error
