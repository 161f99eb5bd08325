"""`obm limits`: what each limit scope may use and has used, and limits that operators set."""

from collections.abc import Mapping
from operator import itemgetter
from typing import Annotated

import typer

from cli.api import Api, open_api
from cli.options import noun
from cli.printing import print_table
from kernel.errors import ConfigError

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

    found = open_api().items("/limits", scope=filter_)
    print_table(
        ("scope", "limit", "maximum", "used", "because of", "has capacity"),
        (
            (
                one["scope"],
                one["limit"],
                f"{one['maximum']:,}",
                f"{one['used']:,}",
                one["reason"] or one["set_by"] or "",
                one["available_at"] or "now",
            )
            for one in sorted(found, key=itemgetter("id"))
            if not exhausted or not one["remaining"]
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
    limits = {
        "per_second": per_second,
        "per_minute": per_minute,
        "per_hour": per_hour,
        "per_day": per_day,
        "in_flight": in_flight,
        "weight": weight,
    }
    if not any(limits.values()):
        raise ConfigError("Name a limit or a weight. `obm limits remove` removes them.")
    change(scope, {**limits, "time_zone": time_zone})


@app.command()
def remove(scope: ScopeArgument) -> None:
    """Remove the limits and the weight that an operator has set."""
    change(scope, {})


def change(name: str, limits: Mapping[str, object]) -> None:
    api = open_api()
    api.put("/limits", {**limits, "scope": scope_key(api, name)})


def scope_key(api: Api, name: str) -> str:
    """The scope, with ids in place of the names of tenants, mailboxes and pools. Raises
    ConfigError."""
    kind, _, rest = name.partition("/")
    if kind not in SCOPES:
        raise ConfigError(f"There is no scope {name}. Begin with one of {', '.join(SCOPES)}.")
    subject, slash, site = rest.partition("/")
    if noun_of := SCOPES[kind]:
        subject = api.find(noun_of, subject)["id"]
    return f"{kind}/{subject}{slash}{site}"


# The kinds of scopes, and what they name. The API finds egress sources by their addresses.
SCOPES = {
    "api_key": "",
    "mailbox": "mailboxes",
    "tenant_site": "tenants",
    "tenant": "tenants",
    "pool": "pools",
    "warmup": "",
    "egress_site": "",
    "site": "",
    "engine": "",
}
