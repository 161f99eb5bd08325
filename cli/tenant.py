"""`obm tenant`: the isolated sending units of an account."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer

from cli.api import Api, open_api
from cli.options import noun
from cli.printing import console, id_column, print_table
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


TenantArgument = Annotated[str, typer.Argument(help="Tenant, by id or name")]
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

    if dedicated and pool:
        raise ConfigError("Give either --pool or --dedicated.")
    api = open_api()
    owner = api.find("accounts", account)
    limits = (per_second, per_hour, per_day)
    scores = (hold_score, block_score)
    settings = tenant_settings(
        api, limits, scores, pool=pool, policies=(ambiguous, reputation_policy)
    )
    if dedicated:
        own = {"name": " ".join(name.split()), "dedicated": dedicated, "warmup": warmup}
        settings["pool_id"] = api.post("/pools", own)["id"]
    new = {"account_id": owner["id"], "name": " ".join(name.split()), **settings}
    console.print(api.post("/tenants", new)["id"])


@app.command()
def change(  # noqa: PLR0913 - an option for each
    tenant: TenantArgument,
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

    api = open_api()
    found = api.find("tenants", tenant)
    limits = (per_second, per_hour, per_day)
    scores = (hold_score, block_score)
    settings = tenant_settings(
        api, limits, scores, pool=pool, policies=(ambiguous, reputation_policy)
    )
    if "limits" in settings:
        settings["limits"] = {**found["limits"], **settings["limits"]}
        settings["limits"] = {name: value or 0 for name, value in settings["limits"].items()}
    api.patch(f"/tenants/{found['id']}", settings)


def tenant_settings(
    api: Api,
    limits: tuple[int | None, int | None, int | None],
    scores: tuple[float | None, float | None],
    *,
    pool: str | None,
    policies: tuple[AmbiguousPolicy | None, ReputationPolicy | None],
) -> dict[str, Any]:
    """The given options as fields of a request. Raises ConfigError."""
    named = {
        "limits": given(zip(("per_second", "per_hour", "per_day"), limits, strict=True)) or None,
        **dict(zip(("hold_score", "block_score"), scores, strict=True)),
        "pool_id": pool and api.find("pools", pool)["id"],
        **dict(zip(("ambiguous_policy", "reputation_policy"), policies, strict=True)),
    }
    return given(named.items())


def given(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None}


@app.command()
def remove(tenant: TenantArgument) -> None:
    """Remove a tenant without keys, domains and mailboxes."""
    api = open_api()
    api.delete(f"/tenants/{api.find('tenants', tenant)['id']}")


@app.command()
def pause(
    tenant: TenantArgument,
    *,
    reason: Annotated[str, typer.Option(help="For the account")] = "",
) -> None:
    """Refuse the live mail of a tenant from now on. Accepted mail is still delivered.

    \b
    obm tenant pause shop --reason "too many complaints"
    """
    api = open_api()
    api.post(f"/tenants/{api.find('tenants', tenant)['id']}/pause", {"reason": reason})


@app.command()
def resume(tenant: TenantArgument) -> None:
    """Resume a tenant that was paused: by `obm tenant pause`, by its account, or for its bounces or
    complaints. Its rates count anew."""
    api = open_api()
    api.post(f"/tenants/{api.find('tenants', tenant)['id']}/resume")


@app.command("list")
def list_tenants() -> None:
    """List the tenants."""
    limits = ("per_second", "per_hour", "per_day")
    print_table(
        (
            id_column("tenant"), id_column("account"), "name", "status",
            "per second", "per hour", "per day",
        ),
        (
            (
                one["id"],
                one["account_id"],
                one["name"],
                one["status"],
                *(str(one["limits"][limit] or "") for limit in limits),
            )
            for one in open_api().items("/tenants")
        ),
    )  # fmt: skip
