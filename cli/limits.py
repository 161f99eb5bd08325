"""`obm limits`: what each limit scope may use, and what it has used."""

import asyncio
from typing import Annotated

import typer

from cli.options import noun
from cli.policies import open_policies, utc_time
from cli.printing import print_table
from contracts.router.v1.policy_service_pb2 import LimitUsage

app = noun("Limits: what each scope may use, and what it has used.")
app.callback()(lambda: None)  # a group, although it has one command


@app.command()
def show(
    filter_: Annotated[
        str, typer.Argument(metavar="[FILTER]", help="Part of a scope: a tenant, source or site")
    ] = "",
    *,
    exhausted: Annotated[bool, typer.Option(help="Only limits without capacity")] = False,
) -> None:
    """List the limits of the scopes that have sent lately. Times are UTC.

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
                one.reason,
                utc_time(one.available_at) if one.HasField("available_at") else "now",
            )
            for one in asyncio.run(work())
            if filter_ in one.scope and (not exhausted or one.used >= one.maximum)
        ),
    )
