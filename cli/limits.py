"""`obm limits`: what each limit scope may use and has used, and limits that operators set."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from cli.options import noun
from cli.overrides import operator
from cli.policies import (
    PolicyAdmin,
    find_mailbox,
    find_source,
    find_tenant,
    open_policies,
    read_mailboxes,
    read_tenants,
    utc_time,
)
from cli.printing import print_table
from cli.routing import find_pool
from contracts.router.v1.policies_pb2 import PolicyCommand
from contracts.router.v1.policy_service_pb2 import LimitUsage
from kernel import clock
from kernel.errors import ConfigError
from services.router.domain.ledger import Scope, ScopeKind
from services.router.domain.limits import Limits
from services.router.domain.operator_limits import LimitsChanged
from services.router.domain.policy_events import limits_event
from services.router.store import directory

app = noun("Limits: what each scope may use, and what it has used.")

ScopeArgument = Annotated[
    str,
    typer.Argument(
        metavar="SCOPE",
        help="api_key/ID, mailbox/ADDRESS, tenant/NAME, tenant_site/NAME/SITE, pool/NAME, "
        "warmup/ADDRESS (a source at all sites), egress_site/ADDRESS/SITE, site/SITE, or engine "
        "(all mail)",
    ),
]
Limit = Annotated[int, typer.Option(min=0, help="Messages in this period; 0: no limit")]


@app.command()
def show(
    filter_: Annotated[
        str, typer.Argument(metavar="[FILTER]", help="Part of a scope: a tenant, source or site")
    ] = "",
    *,
    exhausted: Annotated[bool, typer.Option(help="Only limits without capacity")] = False,
) -> None:
    """List the limits of the scopes that have sent lately, and those that operators have set. Times
    are UTC.

    \b
    obm limits show yahoo
    obm limits show --exhausted
    """

    async def work() -> list[LimitUsage]:
        async with open_policies(with_tenants=True) as policies:
            return await policies.limits()

    print_table(
        ("scope", "limit", "maximum", "used", "because of", "has capacity"),
        (
            (
                one.scope,
                one.limit,
                f"{one.maximum:,}",
                f"{one.used:,}",
                one.reason or one.set_by,
                utc_time(one.available_at) if one.HasField("available_at") else "now",
            )
            for one in asyncio.run(work())
            if filter_ in one.scope and (not exhausted or one.used >= one.maximum)
        ),
    )


@app.command("set")
def set_limits(  # noqa: PLR0913 - an option for each
    scope: ScopeArgument,
    *,
    per_second: Limit = 0,
    per_minute: Limit = 0,
    per_hour: Limit = 0,
    per_day: Limit = 0,
    in_flight: Annotated[int, typer.Option(min=0, help="Messages without a result yet")] = 0,
    time_zone: Annotated[
        str,
        typer.Option(help="Hours and days begin on its clock (Europe/Berlin); empty: rolling"),
    ] = "",
    weight: Annotated[
        int, typer.Option(min=0, help="Share of a tenant while several wait; 0: 1")
    ] = 0,
) -> None:
    """Limit a scope until the next change. It is in force within a second, and replaces what an
    operator has set before. Of several limits of a scope, the smallest holds.

    \b
    obm limits set tenant/shop --per-hour 5000 --per-day 20000 --time-zone Europe/Berlin
    obm limits set mailbox/ann@shop.example --per-day 500
    obm limits set egress_site/192.0.2.10/yahoo --per-minute 60 --in-flight 5
    obm limits set tenant/shop --weight 3
    """
    limits = Limits(
        per_second,
        per_minute,
        per_hour,
        per_day,
        in_flight,
        hour_zone=time_zone,
        day_zone=time_zone,
    )
    if not (any(limits[:5]) or weight):
        raise ConfigError("Name a limit or a weight. `obm limits remove` removes them.")
    asyncio.run(change(scope, limits, weight))


@app.command()
def remove(scope: ScopeArgument) -> None:
    """Remove the limits and the weight that an operator has set."""
    asyncio.run(change(scope, Limits(), 0))


async def change(name: str, limits: Limits, weight: int) -> None:
    async with open_policies() as policies:
        scope = await parse_scope(policies, name)
        changed = LimitsChanged(scope, limits, clock.now().timestamp(), operator(), weight)
        await policies.execute(PolicyCommand(set_limits=limits_event(changed)))


async def parse_scope(policies: PolicyAdmin, name: str) -> Scope:
    """The scope, with ids in place of names. Raises ConfigError."""
    kind, _, rest = name.partition("/")
    found = Scope.of(f"{kind}/")
    if found is None:
        kinds = ", ".join(one for one in ScopeKind if one in SCOPES or one is ScopeKind.ENGINE)
        raise ConfigError(f"There is no scope {name}. Begin with one of {kinds}.")
    subject, slash, site = rest.partition("/")
    find = SCOPES.get(found.kind)
    return Scope(found.kind, (await find(policies, subject)) + slash + site if find else rest)


async def tenant_id(_: PolicyAdmin, name: str) -> str:
    return find_tenant(await read_tenants(), name)


async def mailbox_id(_: PolicyAdmin, name: str) -> str:
    return find_mailbox(await read_mailboxes(), name)


async def egress_id(policies: PolicyAdmin, name: str) -> str:
    return find_source(await policies.sources(), name)


async def pool_id(policies: PolicyAdmin, name: str) -> str:
    async with policies.database.transaction() as tx:
        return find_pool(await directory.load_pools(tx), name).pool_id


async def same(_: PolicyAdmin, name: str) -> str:
    return name


SCOPES: dict[ScopeKind, Callable[[PolicyAdmin, str], Awaitable[str]]] = {
    ScopeKind.API_KEY: same,
    ScopeKind.MAILBOX: mailbox_id,
    ScopeKind.TENANT: tenant_id,
    ScopeKind.TENANT_SITE: tenant_id,
    ScopeKind.POOL: pool_id,
    ScopeKind.WARMUP: egress_id,
    ScopeKind.EGRESS_SITE: egress_id,
    ScopeKind.SITE: same,
}
