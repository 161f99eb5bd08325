"""`obm tenant`: the isolated sending units of an account."""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from cli import routing
from cli.directory import open_directory, run_in_directory
from cli.options import noun
from cli.policies import find_tenant, open_policies, read_tenants
from cli.printing import console, id_column, print_table
from contracts.ingest.v1.directory_pb2 import AmbiguousPolicy as AmbiguousPolicyValue
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1.policies_pb2 import PolicyCommand

app = noun("Tenants: isolated sending units.")


class AmbiguousPolicy(StrEnum):
    """Policy for a message whose attempt failed after end of data and before the reply."""

    RETRY = "retry"
    FAIL = "fail"


Limit = Annotated[
    int | None,
    typer.Option(min=0, help="Maximum number of its messages in this period; 0: no limit"),
]
Score = Annotated[
    float | None,
    typer.Option(min=0, help="Score from which mail is held or blocked; 0: default"),
]
PoolOption = Annotated[str | None, typer.Option(help="Pool that it sends through, by id or name")]
Policy = Annotated[
    AmbiguousPolicy | None,
    typer.Option(help="After an attempt that may have delivered: retry, or fail the message"),
]


@app.command()
def create(  # noqa: PLR0913 - an option for each
    name: str,
    *,
    account: Annotated[str, typer.Option(help="Account, by id or name")],
    per_second: Limit = None,
    per_hour: Limit = None,
    per_day: Limit = None,
    hold_score: Score = None,
    block_score: Score = None,
    pool: PoolOption = None,
    ambiguous: Policy = None,
) -> None:
    """Create a tenant with its own content key and print its id.

    \b
    obm tenant create shop --account Acme --per-hour 5000
    """

    async def work() -> Tenant:
        limits = (per_second, per_hour, per_day)
        chosen = await tenant_fields(
            limits, (hold_score, block_score), pool=pool, ambiguous=ambiguous
        )
        async with open_directory() as directory:
            return await directory.add_tenant(account, name, chosen=Tenant(**chosen))

    console.print(asyncio.run(work()).tenant_id)


@app.command()
def change(  # noqa: PLR0913 - an option for each
    tenant: Annotated[str, typer.Argument(help="Tenant, by id or name")],
    *,
    per_second: Limit = None,
    per_hour: Limit = None,
    per_day: Limit = None,
    hold_score: Score = None,
    block_score: Score = None,
    pool: PoolOption = None,
    ambiguous: Policy = None,
) -> None:
    """Change the given options of a tenant. The services apply them within a second."""

    async def work() -> None:
        limits = (per_second, per_hour, per_day)
        chosen = await tenant_fields(
            limits, (hold_score, block_score), pool=pool, ambiguous=ambiguous
        )
        async with open_directory() as directory:
            await directory.change_tenant(tenant, chosen)

    asyncio.run(work())


async def tenant_fields(
    limits: tuple[int | None, int | None, int | None],
    scores: tuple[float | None, float | None],
    *,
    pool: str | None,
    ambiguous: AmbiguousPolicy | None,
) -> Mapping[str, Any]:
    """The given options as fields of a Tenant. Raises ConfigError."""
    policy = ambiguous and AmbiguousPolicyValue.Value(f"AMBIGUOUS_POLICY_{ambiguous.name}")
    named = {
        **dict(zip(("per_second_max", "per_hour_max", "per_day_max"), limits, strict=True)),
        **dict(zip(("hold_score", "block_score"), scores, strict=True)),
        "pool_id": pool and await pool_id(pool),
        "ambiguous_policy": policy,
    }
    return {name: value for name, value in named.items() if value is not None}


async def pool_id(pool: str) -> str:
    async with routing.open_routing() as admin:
        return routing.find_pool(await admin.pools(), pool).pool_id


@app.command()
def remove(tenant: Annotated[str, typer.Argument(help="Tenant, by id or name")]) -> None:
    """Remove a tenant without keys and domains; its queued mail fails."""

    run_in_directory(lambda directory: directory.remove(Tenant, tenant))


@app.command()
def resume(tenant: Annotated[str, typer.Argument(help="Tenant, by id or name")]) -> None:
    """Resume a tenant that was paused for its bounces or complaints. Its rates count anew."""

    async def work() -> None:
        tenant_id = find_tenant(await read_tenants(), tenant)
        async with open_policies() as policies:
            await policies.execute(PolicyCommand(resume_tenant_id=tenant_id))

    asyncio.run(work())


@app.command("list")
def list_tenants() -> None:
    """List the tenants."""

    print_table(
        (id_column("tenant"), id_column("account"), "name", "per second", "per hour", "per day"),
        (
            (
                one.tenant_id,
                one.account_id,
                one.name,
                *(
                    str(limit or "")
                    for limit in (one.per_second_max, one.per_hour_max, one.per_day_max)
                ),
            )
            for one in run_in_directory(lambda directory: directory.store.list_all(Tenant))
        ),
    )
