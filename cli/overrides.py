"""`obm overrides`: limits and suspensions that replies of receiving servers have caused, or an
operator has set, for a time."""

import asyncio
import os
from typing import Annotated

import typer
from rich.table import Column

from cli.options import noun
from cli.policies import (
    PolicyAdmin,
    find_source,
    find_tenant,
    open_policies,
    read_tenants,
    utc_time,
)
from cli.printing import console, print_table
from contracts.router.v1.policies_pb2 import (
    OverrideRemoved,
    OverrideSet,
    PolicyCommand,
    StandingChanged,
)
from kernel import clock
from kernel.errors import ConfigError
from services.router.domain.feedback_rules import Action
from services.router.domain.ledger import Scope, ScopeKind
from services.router.domain.overrides import Override
from services.router.domain.overrides import OverrideSet as Setting
from services.router.domain.policies import egress_site_scope
from services.router.domain.policy_events import override_set

HOUR_S = 3600.0
HOURS_MAX = 24 * 30
PER_MINUTE_MAX = 1_000_000

app = noun("Overrides: limits and suspensions that end by themselves.")


@app.command("list")
def list_overrides() -> None:
    """List the overrides in force, and the tenants and sources that are warned or paused. The name
    of an override says what has set it, and which scope it limits. Times are UTC."""

    async def work() -> tuple[list[OverrideSet], list[StandingChanged]]:
        async with open_policies() as policies:
            return await policies.overrides(), await policies.standings()

    overrides, standings = asyncio.run(work())
    print_table(
        (
            Column("override", no_wrap=True),
            *("action", "per minute", "until", "restored", "reply"),
        ),
        (
            (
                one.override_id,
                one.action,
                str(one.per_minute or ""),
                utc_time(one.until),
                utc_time(one.ends_at),
                one.reason,
            )
            for one in overrides
        ),
    )
    if standings:
        print_table(
            ("warned or paused", "standing", "for", "since"),
            (
                (
                    f"{one.subject_kind} {one.subject_id}",
                    one.standing,
                    one.reason,
                    utc_time(one.changed_at),
                )
                for one in standings
            ),
        )


@app.command()
def remove(override: Annotated[str, typer.Argument(help="As listed")]) -> None:
    """End an override now."""

    async def work() -> None:
        removed = OverrideRemoved(override_id=override, removed_by=operator())
        async with open_policies() as policies:
            await policies.execute(PolicyCommand(remove_override=removed))

    asyncio.run(work())


@app.command("set")
def set_override(
    *,
    egress: Annotated[str, typer.Option(help="Egress source, by id or address")] = "",
    tenant: Annotated[str, typer.Option(help="Tenant, by id or name")] = "",
    site: Annotated[str, typer.Option(help="Site; empty, with --tenant: all")] = "",
    per_minute: Annotated[
        int, typer.Option(min=0, max=PER_MINUTE_MAX, help="Messages; 0 suspends")
    ] = 0,
    one_connection: Annotated[bool, typer.Option(help="One message at a time")] = False,
    hours: Annotated[float, typer.Option(help="Duration", min=0.01, max=HOURS_MAX)] = 24.0,
    reason: Annotated[str, typer.Option(help="Shown in the list")] = "",
) -> None:
    """Slow down or suspend an egress source at a site, or a tenant, and print the override's id.

    \b
    obm overrides set --egress 192.0.2.10 --site yahoo --hours 4
    obm overrides set --egress 192.0.2.10 --site google --per-minute 60
    obm overrides set --tenant shop --hours 1 --reason "wrong list"
    """

    async def work() -> str:
        async with open_policies() as policies:
            scope = await scope_of(policies, egress=egress, tenant=tenant, site=site)
            action = action_of(scope, per_minute=per_minute, one_connection=one_connection)
            now_s = clock.now().timestamp()
            end_s = now_s + hours * HOUR_S
            name = f"operator/{scope.key}/{now_s:.0f}"
            override = Override(
                name, scope, action, "operator", reason, now_s, end_s, end_s, per_minute
            )
            command = PolicyCommand(set_override=override_set(Setting(override)))
            await policies.execute(command)
            return name

    console.print(asyncio.run(work()))


async def scope_of(policies: PolicyAdmin, *, egress: str, tenant: str, site: str) -> Scope:
    """Raises ConfigError."""
    if bool(egress) == bool(tenant) or (egress and not site):
        raise ConfigError("Name an egress source and a site, or a tenant.")
    if egress:
        return egress_site_scope(find_source(await policies.sources(), egress), site)
    tenant_id = find_tenant(await read_tenants(), tenant)
    if site:
        return Scope(ScopeKind.TENANT_SITE, f"{tenant_id}/{site}")
    return Scope(ScopeKind.TENANT, tenant_id)


def action_of(scope: Scope, *, per_minute: int, one_connection: bool) -> Action:
    if per_minute:
        return Action.SLOW_DOWN
    if one_connection:
        return Action.ONE_CONNECTION
    return {
        ScopeKind.EGRESS_SITE: Action.SUSPEND_SITE,
        ScopeKind.TENANT_SITE: Action.SUSPEND_TENANT_SITE,
        ScopeKind.TENANT: Action.PAUSE_TENANT,
    }[scope.kind]


def operator() -> str:
    """Who gives the command, as far as the machine knows."""
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or "operator"
