"""`obm secret`: a key for SECRET_KEYS."""

import typer

from kernel.crypto import new_secret_key


def secret() -> None:
    """Make a key for SECRET_KEYS. Put it first there and keep the old ones after it."""
    typer.echo(new_secret_key())
