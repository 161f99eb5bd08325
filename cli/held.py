"""`obm held`: mail that waits for a review, why, and how to release or reject it."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Any

import typer

from cli.api import Api, open_api
from cli.options import noun
from cli.printing import console, id_column, print_table, utc_time
from kernel.errors import ConfigError

app = noun("Held mail: what waits for a review, why, and how to release or reject it.")

IDS_MAX = 500  # of a request
SHOWN = 3  # rules of a message
VERDICTS = {"release": "released", "reject": "rejected"}

Tenant = Annotated[str, typer.Option("--tenant", help="Tenant, by id or name; without: all")]
Rule = Annotated[str, typer.Option(help="Rule of one of the reasons")]
Domain = Annotated[str, typer.Option("--recipient-domain", help="Domain of the recipient")]
Sender = Annotated[str, typer.Option(help="Address in From, or its domain")]
From = Annotated[float | None, typer.Option("--score-from", help="Least score")]
Below = Annotated[float | None, typer.Option("--score-below", help="Scores below this one")]
Since = Annotated[str, typer.Option(help="Accepted since this time")]
Until = Annotated[str, typer.Option(help="Accepted before this time")]
Campaign = Annotated[str, typer.Option("--campaign", help="Id of their campaign")]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids of messages")]
Reason = Annotated[str, typer.Option(help="Why: for the audit log and the timeline")]
All = Annotated[bool, typer.Option("--all", help="Everything that is held")]
DryRun = Annotated[bool, typer.Option(help="Only count")]


@app.command("list")
def list_held(  # noqa: PLR0913 - the filters that there are
    *,
    tenant: Tenant = "",
    rule: Rule = "",
    recipient_domain: Domain = "",
    sender: Sender = "",
    score_from: From = None,
    score_below: Below = None,
    since: Since = "",
    until: Until = "",
    campaign: Campaign = "",
    limit: Annotated[int, typer.Option(min=1, help="Most messages")] = 100,
) -> None:
    """List held messages, newest first, with the rules that weigh most (times in UTC).

    \b
    obm held list --tenant shop --score-below 7
    """
    api, tenant_id = open_tenant(tenant)
    scores = {"score_from": score_from, "score_below": score_below}
    query = {
        "rule": rule, "recipient_domain": recipient_domain, "sender": sender, "since": since,
        "until": until, "campaign_id": campaign,
        **{name: str(score) for name, score in scores.items() if score is not None},
    }  # fmt: skip
    found = api.items("/held", tenant_id=tenant_id, **query)
    print_table(
        (id_column("message"), "from", "to", "score", "because of", "held", "expires"),
        (row_of(one) for one in islice(found, limit)),
    )


def row_of(one: Mapping[str, Any]) -> tuple[str, ...]:
    rules = ", ".join(reason["rule"] for reason in one["reasons"][:SHOWN])
    times = (utc_time(one["held_at"] or ""), utc_time(one["expires_at"]))
    return one["id"], one["from"], one["recipient"], f"{one['score']:.1f}", rules, *times


@app.command()
def release(  # noqa: PLR0913 - the filters that there are
    ids: Ids = None,
    *,
    reason: Reason,
    tenant: Tenant = "",
    rule: Rule = "",
    recipient_domain: Domain = "",
    sender: Sender = "",
    score_below: Below = None,
    campaign: Campaign = "",
    all_: All = False,
    dry_run: DryRun = False,
) -> None:
    """Release held messages, by id or by options that all have to match: they are sent.

    \b
    obm held release MESSAGE --reason "asked the sender"
    obm held release --tenant shop --score-below 7 --reason "new threshold" --dry-run
    """
    wanted = {
        "rule": rule, "recipient_domain": recipient_domain, "sender": sender,
        "score_below": score_below, "campaign_id": campaign, "all": all_,
    }  # fmt: skip
    review("release", tenant, reason, ids=ids or [], wanted=wanted, dry_run=dry_run)


@app.command()
def reject(  # noqa: PLR0913 - the filters that there are
    ids: Ids = None,
    *,
    reason: Reason,
    tenant: Tenant = "",
    rule: Rule = "",
    recipient_domain: Domain = "",
    sender: Sender = "",
    score_from: From = None,
    campaign: Campaign = "",
    all_: All = False,
    dry_run: DryRun = False,
) -> None:
    """Reject held messages, by id or by options that all have to match: they fail.

    \b
    obm held reject MESSAGE --reason phishing
    obm held reject --sender shop.example.net --reason "a stolen account" --dry-run
    """
    wanted = {
        "rule": rule, "recipient_domain": recipient_domain, "sender": sender,
        "score_from": score_from, "campaign_id": campaign, "all": all_,
    }  # fmt: skip
    review("reject", tenant, reason, ids=ids or [], wanted=wanted, dry_run=dry_run)


def review(
    action: str,
    tenant: str,
    reason: str,
    *,
    ids: list[str],
    wanted: Mapping[str, object],
    dry_run: bool,
) -> None:
    """In requests of bounded size."""
    given = {name: value for name, value in wanted.items() if value not in ("", None, False)}
    if bool(ids) == bool(given):
        raise ConfigError("Name messages by their ids, or by options such as --rule, or use --all.")
    bodies = by_ids(ids) if ids else [{"filter": given, "dry_run": dry_run}]
    pages = [one for body in bodies for one in pages_of(action, tenant, {**body, "reason": reason})]
    found = sum(one["found"] for one in pages)
    reviewed = sum(len(one["reviewed"]) for one in pages)
    verdict = VERDICTS[action]
    if dry_run and not ids:
        console.print(f"{found:,} messages would be {verdict}")
    else:
        console.print(f"{reviewed:,} messages {verdict}, {found - reviewed:,} not held any more")


def pages_of(action: str, tenant: str, body: Mapping[str, object]) -> Iterator[dict[str, Any]]:
    api, tenant_id = open_tenant(tenant)
    page = api.post(f"/held/{action}", body, tenant_id=tenant_id)
    yield page
    while page["next"]:
        following = {**body, "after": page["next"]}
        page = api.post(f"/held/{action}", following, tenant_id=tenant_id)
        yield page


def by_ids(ids: list[str]) -> list[dict[str, object]]:
    return [{"ids": ids[first : first + IDS_MAX]} for first in range(0, len(ids), IDS_MAX)]


def open_tenant(tenant: str) -> tuple[Api, str]:
    """The API, and the id of the tenant; empty without one."""
    api = open_api()
    return api, api.find("tenants", tenant)["id"] if tenant else ""
