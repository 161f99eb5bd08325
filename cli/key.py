"""`obm key`: the API keys of tenants."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any

import typer

from cli.api import Api, open_api
from cli.options import TenantOption, noun
from cli.printing import console, id_column, print_table
from kernel import clock
from kernel.errors import ConfigError

app = noun("API keys.")

DAYS_MAX = 36_500


@app.command()
def create(
    *,
    tenant: TenantOption,
    test: Annotated[
        bool, typer.Option("--test/--live", help="Mail of test keys goes to the sandbox")
    ],
    name: Annotated[str, typer.Option(help="Display name; default: that of the tenant")] = "",
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
    api = open_api()
    owner = api.find("tenants", tenant)
    key = {
        "name": name or owner["name"],
        "tenant_id": owner["id"],
        "test": test,
        "permission": "sending_access" if sending_only else "full_access",
        "domain_id": domain_id(api, owner, domain) if domain else None,
        "cidrs": cidr or [],
        "expires_at": expiry(days),
    }
    console.print(api.post("/api-keys", key)["token"])


def domain_id(api: Api, tenant: Mapping[str, Any], domain: str) -> str:
    """The id of a domain that the tenant can send from, by id or name. Raises ConfigError."""
    for one in api.items("/domains", tenant_id=tenant["id"]):
        if domain in (one["id"], one["name"]):
            return str(one["id"])
    raise ConfigError(f"{tenant['name']} cannot send from {domain!r}. See `obm domain list`.")


def expiry(days: int) -> str | None:
    return (clock.now() + timedelta(days=days)).isoformat() if days else None


@app.command()
def delete(key_id: str) -> None:
    """Delete a key. It stops working within a second."""
    delete_key(key_id)


def delete_key(key_id: str) -> None:
    open_api().delete(f"/api-keys/{key_id}")
    console.print(f"deleted {key_id}")


@app.command("list")
def list_keys() -> None:
    """List the keys, without their secrets."""
    print_keys(open_api().items("/api-keys"))


def print_keys(keys: Iterable[Mapping[str, Any]]) -> None:
    print_table(
        (id_column("key"), id_column("tenant"), "mode", "name", "scopes", "expires", "last used"),
        map(_row_of, keys),
    )


def _row_of(key: Mapping[str, Any]) -> tuple[str, ...]:
    mode = "test" if key["test"] else "live"
    texts = (key[name] or "" for name in ("name", "permission", "expires_at", "last_used_at"))
    return key["id"], key["tenant_id"] or "", mode, *texts
