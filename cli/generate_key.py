"""`obm generate-key`: generate a key for OBM_SECRET_KEYS."""

import typer

from kernel.crypto import new_secret_key


def generate_key() -> None:
    """Generate a key for OBM_SECRET_KEYS. Put it first there, before the old keys."""
    typer.echo(new_secret_key())
