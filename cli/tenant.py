"""`obm tenant`: the isolated sending units of an account."""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from cli import routing
from cli.customers import opened
from cli.options import noun
from cli.printing import console, id_column, print_table
from contracts.ingest.v1.directory_pb2 import AmbiguousPolicy, Tenant

app = noun("Tenants: isolated sending units.")


class Ambiguous(StrEnum):
    """What becomes of a message whose attempt ended between its dot and the answer."""

    RETRY = "retry"
    FAIL = "fail"


Cap = Annotated[int | None, typer.Option(min=0, help="messages; 0: no cap")]
Score = Annotated[float | None, typer.Option(min=0, help="of shield; 0: its default")]
PoolOption = Annotated[str | None, typer.Option(help="id or name: whose addresses it sends from")]
Policy = Annotated[
    Ambiguous | None, typer.Option(help="what an attempt that may have arrived leads to")
]


@app.command()
def create(  # noqa: PLR0913 - an option for each
    name: str,
    *,
    account: Annotated[str, typer.Option(help="id or name")],
    per_second: Cap = None,
    per_hour: Cap = None,
    per_day: Cap = None,
    hold_score: Score = None,
    block_score: Score = None,
    pool: PoolOption = None,
    ambiguous: Policy = None,
) -> None:
    """Create a tenant with a content key of its own; its id is printed.

    \b
    obm tenant create shop --account Acme --per-hour 5000
    """

    async def work() -> Tenant:
        caps = (per_second, per_hour, per_day)
        chosen = await fields(caps, (hold_score, block_score), pool=pool, ambiguous=ambiguous)
        async with opened() as customers:
            return await customers.add_tenant(account, name, chosen=Tenant(**chosen))

    console.print(asyncio.run(work()).tenant_id)


@app.command()
def change(  # noqa: PLR0913 - an option for each
    tenant: Annotated[str, typer.Argument(help="id or name")],
    *,
    per_second: Cap = None,
    per_hour: Cap = None,
    per_day: Cap = None,
    hold_score: Score = None,
    block_score: Score = None,
    pool: PoolOption = None,
    ambiguous: Policy = None,
) -> None:
    """Change what is named, and nothing else. The services learn of it within a second."""

    async def work() -> None:
        caps = (per_second, per_hour, per_day)
        chosen = await fields(caps, (hold_score, block_score), pool=pool, ambiguous=ambiguous)
        async with opened() as customers:
            await customers.change_tenant(tenant, chosen)

    asyncio.run(work())


async def fields(
    caps: tuple[int | None, int | None, int | None],
    scores: tuple[float | None, float | None],
    *,
    pool: str | None,
    ambiguous: Ambiguous | None,
) -> Mapping[str, Any]:
    """What was given, by the names of the contract. Raises BadSetting."""
    policy = ambiguous and AmbiguousPolicy.Value(f"AMBIGUOUS_POLICY_{ambiguous.name}")
    named = {
        **dict(zip(("per_second_max", "per_hour_max", "per_day_max"), caps, strict=True)),
        **dict(zip(("hold_score", "block_score"), scores, strict=True)),
        "pool_id": pool and await pool_id(pool),
        "ambiguous_policy": policy,
    }
    return {name: value for name, value in named.items() if value is not None}


async def pool_id(pool: str) -> str:
    async with routing.opened() as known:
        return routing.find(await known.pools(), pool).pool_id


@app.command()
def remove(tenant: Annotated[str, typer.Argument(help="id or name")]) -> None:
    """Remove a tenant that has no keys and domains any more; its mail that waits fails."""

    async def work() -> None:
        async with opened() as customers:
            await customers.remove(Tenant, tenant)

    asyncio.run(work())


@app.command("list")
def show() -> None:
    """All tenants."""

    async def work() -> list[Tenant]:
        async with opened() as customers:
            return await customers.store.every(Tenant)

    print_table(
        (id_column("tenant"), id_column("account"), "name", "per second", "per hour", "per day"),
        (
            (
                one.tenant_id,
                one.account_id,
                one.name,
                *(
                    str(cap or "")
                    for cap in (one.per_second_max, one.per_hour_max, one.per_day_max)
                ),
            )
            for one in asyncio.run(work())
        ),
    )
