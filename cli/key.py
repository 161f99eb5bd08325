"""`obm key`: the API keys of tenants."""

import asyncio
from collections.abc import Callable
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from cli.directory import open_directory, run_in_directory
from cli.options import noun
from cli.printing import console, id_column, print_table
from contracts.ingest.v1.directory_pb2 import ApiKey
from kernel import auth, clock, times

app = noun("API keys.")

DAY_S = 86_400
DAYS_MAX = 36_500


@app.command()
def create(
    *,
    tenant: Annotated[str, typer.Option(help="Tenant, by id or name")],
    test: Annotated[
        bool, typer.Option("--test/--live", help="Mail of test keys goes to the sandbox")
    ],
    name: Annotated[str, typer.Option(help="Display name")] = "",
    sending_only: Annotated[bool, typer.Option(help="Allow sending only")] = False,
    domain: Annotated[
        str, typer.Option(help="Only domain that the key can send from, by id or name")
    ] = "",
    cidr: Annotated[
        list[str] | None,
        typer.Option(help="CIDR range that the key can be used from; can be repeated"),
    ] = None,
    days: Annotated[
        int, typer.Option(min=0, max=DAYS_MAX, help="Days until the key expires; 0: never")
    ] = 0,
) -> None:
    """Create a key and print it. It is not stored and cannot be retrieved later.

    \b
    obm key create --tenant shop --test --name "continuous integration" --days 90
    """
    expires_at = Timestamp(seconds=int(clock.now().timestamp()) + days * DAY_S) if days else None
    scope = auth.SENDING_ACCESS if sending_only else auth.FULL_ACCESS

    async def work() -> str:
        async with open_directory() as directory:
            secret, _ = await directory.add_key(
                tenant,
                test=test,
                name=name,
                scopes=[scope],
                domain=domain,
                cidrs=cidr or [],
                expires_at=expires_at,
            )
            return secret

    console.print(asyncio.run(work()))


@app.command()
def delete(key_id: str) -> None:
    """Delete a key. It stops working within a second."""

    run_in_directory(lambda directory: directory.delete_key(key_id))
    console.print(f"deleted {key_id}")


@app.command("list")
def list_keys() -> None:
    """List the keys, without their secrets."""

    print_keys(lambda _: True)


def print_keys(is_listed: Callable[[ApiKey], bool]) -> None:
    keys = run_in_directory(lambda directory: directory.store.list_all(ApiKey))
    print_table(
        (id_column("key"), id_column("tenant"), "mode", "name", "scopes", "expires"),
        map(_row_of, filter(is_listed, keys)),
    )


def _row_of(key: ApiKey) -> tuple[str, ...]:
    expires = times.clamp_timestamp(key.expires_at).isoformat() if key.expires_at.seconds else ""
    mode = "test" if key.test else "live"
    return key.key_id, key.tenant_id, mode, key.name, ", ".join(key.scopes), expires
