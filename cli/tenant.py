"""`obm tenant`: the isolated sending units of an account."""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from cli import routing
from cli.directory import DirectoryAdmin, open_directory, run_in_directory
from cli.options import noun
from cli.policies import find_tenant, open_policies, read_tenants
from cli.printing import console, id_column, print_table
from contracts.ingest.v1.directory_pb2 import AmbiguousPolicy as AmbiguousPolicyValue
from contracts.ingest.v1.directory_pb2 import ReputationPolicy as ReputationPolicyValue
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1.policies_pb2 import PolicyCommand
from kernel.errors import ConfigError

app = noun("Tenants: isolated sending units.")


class ReputationPolicy(StrEnum):
    """When a tenant is paused for its bounces or complaints."""

    DEFAULT = "default"
    NONE = "none"
    STANDARD = "standard"
    STRICT = "strict"


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

Reputation = Annotated[
    ReputationPolicy | None,
    typer.Option(
        help="When it is paused for bounces or complaints: never, at the thresholds of a pause or"
        " of a warning, or as ROUTER_REPUTATION_POLICY says"
    ),
]

Dedicated = Annotated[
    int,
    typer.Option(
        min=0, max=1000, help="Give it a pool of its own with this many sources of pool spare"
    ),
]
Ramp = Annotated[
    str, typer.Option(help="With --dedicated: ramp of the sources; empty: they are warm")
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
    reputation_policy: Reputation = None,
    dedicated: Dedicated = 0,
    warmup: Ramp = "",
) -> None:
    """Create a tenant with its own content key and print its id.

    It sends through the pool default, unless it gets another one, or one of its own: --dedicated
    takes free sources from the pool spare and names the new pool like the tenant.

    \b
    obm tenant create shop --account Acme --per-hour 5000
    obm egress add 192.0.2.12 --pool spare --ehlo out3.example.com
    obm tenant create bank --account Acme --dedicated 1 --warmup default
    """

    async def work() -> Tenant:
        if dedicated and pool:
            raise ConfigError("Give either --pool or --dedicated.")
        limits = (per_second, per_hour, per_day)
        chosen = await tenant_fields(
            limits,
            (hold_score, block_score),
            pool=pool,
            policies=(ambiguous, reputation_policy),
        )
        async with open_directory() as directory:
            if dedicated:
                own = await dedicated_pool(directory, account, name, count=dedicated, ramp=warmup)
                chosen = {**chosen, "pool_id": own}
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
    reputation_policy: Reputation = None,
) -> None:
    """Change the given options of a tenant. The services apply them within a second."""

    async def work() -> None:
        limits = (per_second, per_hour, per_day)
        chosen = await tenant_fields(
            limits,
            (hold_score, block_score),
            pool=pool,
            policies=(ambiguous, reputation_policy),
        )
        async with open_directory() as directory:
            await directory.change_tenant(tenant, chosen)

    asyncio.run(work())


async def tenant_fields(
    limits: tuple[int | None, int | None, int | None],
    scores: tuple[float | None, float | None],
    *,
    pool: str | None,
    policies: tuple[AmbiguousPolicy | None, ReputationPolicy | None],
) -> Mapping[str, Any]:
    """The given options as fields of a Tenant. Raises ConfigError."""
    ambiguous, reputation = policies
    policy = ambiguous and AmbiguousPolicyValue.Value(f"AMBIGUOUS_POLICY_{ambiguous.name}")
    named = {
        **dict(zip(("per_second_max", "per_hour_max", "per_day_max"), limits, strict=True)),
        **dict(zip(("hold_score", "block_score"), scores, strict=True)),
        "pool_id": pool and await pool_id(pool),
        "ambiguous_policy": policy,
        "reputation_policy": reputation and reputation_value(reputation),
    }
    return {name: value for name, value in named.items() if value is not None}


def reputation_value(policy: ReputationPolicy) -> int:
    is_default = policy is ReputationPolicy.DEFAULT
    name = "UNSPECIFIED" if is_default else policy.name
    return ReputationPolicyValue.Value(f"REPUTATION_POLICY_{name}")


async def dedicated_pool(
    directory: DirectoryAdmin, account: str, name: str, *, count: int, ramp: str
) -> str:
    """The id of a pool for a new tenant of an account."""
    await directory.check_account(account)
    used = {one.pool_id for one in await directory.store.list_all(Tenant)}
    async with routing.open_routing() as admin:
        return (await admin.add_dedicated_pool(name, count, used=used, ramp=ramp)).pool_id


async def pool_id(pool: str) -> str:
    async with routing.open_routing() as admin:
        return routing.find_pool(await admin.pools(), pool).pool_id


@app.command()
def remove(tenant: Annotated[str, typer.Argument(help="Tenant, by id or name")]) -> None:
    """Remove a tenant without keys, domains and mailboxes; its queued mail fails."""

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
