"""`obm operator-key`: the keys of the operator of this installation."""

import asyncio
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from cli.api import open_api
from cli.directory import create_operator_key
from cli.key import DAYS_MAX, delete_key, print_keys
from cli.options import noun
from cli.printing import console
from kernel import clock

DAY_S = 86_400

app = noun("Operator keys: they create accounts and their keys by the API.")


@app.command()
def create(
    *,
    name: Annotated[str, typer.Option(help="Display name")] = "operator",
    cidr: Annotated[
        list[str] | None,
        typer.Option(help="CIDR range that the key can be used from; can be repeated"),
    ] = None,
    days: Annotated[
        int, typer.Option(min=0, max=DAYS_MAX, help="Days until the key expires; 0: never")
    ] = 0,
) -> None:
    """Create an operator key and print it. It is not stored and cannot be retrieved later.

    \b
    export OBM_OPERATOR_KEY=$(obm operator-key create --name "Ann's laptop" --days 90)
    curl -s localhost:8025/v1/accounts -H "Authorization: Bearer $OBM_OPERATOR_KEY"

    It writes to the database itself, because the first key cannot come from the API. It can create
    others by POST /v1/api-keys.
    """
    expires_at = Timestamp(seconds=int(clock.now().timestamp()) + days * DAY_S) if days else None
    console.print(asyncio.run(create_operator_key(name, cidrs=cidr or [], expires_at=expires_at)))


@app.command()
def delete(key_id: str) -> None:
    """Delete an operator key. It stops working within a second."""
    delete_key(key_id)


@app.command("list")
def list_keys() -> None:
    """List the operator keys, without their secrets."""
    print_keys(one for one in open_api().items("/api-keys") if one["kind"] == "operator")
