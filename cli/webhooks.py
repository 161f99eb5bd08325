"""`obm webhooks`: endpoints that receive events."""

from collections import defaultdict
from typing import Annotated

import typer

from cli.api import Api, open_api
from cli.options import AccountOption, TenantOption, noun
from cli.printing import console, id_column, print_table, utc_time
from kernel.errors import ConfigError

EventOption = Annotated[
    list[str] | None, typer.Option("--event", help="Only events of this type; repeatable")
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        help="Only events of tenant=NAME, domain=NAME, tag=NAME or tag=NAME:VALUE,"
        " stream=transactional or broadcast; repeatable",
    ),
]
HeaderOption = Annotated[
    list[str] | None, typer.Option("--header", help="Name: value, of requests; repeatable")
]
SvixOption = Annotated[
    bool | None,
    typer.Option("--svix-headers/--no-svix-headers", help="Sign under Svix's names too"),
]
WebhookArgument = Annotated[str, typer.Argument(help="Id of the webhook")]
EventArgument = Annotated[str, typer.Argument(help="Id of the event")]

FILTERS = {"tenant": "tenant_ids", "domain": "domain_ids", "tag": "tags", "stream": "streams"}

app = noun(
    "Webhooks: endpoints that receive events. They need OBM_API_KEY of an account or tenant."
)


@app.command("list")
def list_webhooks(*, tenant: TenantOption = "", account_wide: AccountOption = False) -> None:
    """List the webhooks of a tenant, newest first; with --account-wide, those of the account and of
    all its tenants. Times are UTC.

    \b
    obm webhooks list --tenant shop
    """
    api = open_api()
    found = api.items("/webhooks", tenant_id=api.owner_id(tenant, account_wide=account_wide))
    print_table(
        (id_column("id"), "endpoint", id_column("tenant"), "events", "status", "since"),
        (
            (
                one["id"],
                one["endpoint"],
                one["tenant_id"] or "all",
                ", ".join(one["events"]) or "all",
                one["disabled_reason"] or one["status"],
                utc_time(one["created_at"]),
            )
            for one in found
        ),
    )


@app.command()
def create(
    endpoint: Annotated[str, typer.Argument(help="https URL")],
    *,
    tenant: TenantOption = "",
    account_wide: AccountOption = False,
    event: EventOption = None,
    only: OnlyOption = None,
    header: HeaderOption = None,
    svix_headers: SvixOption = None,
) -> None:
    """Add a webhook, and print its id and its signing secret.

    \b
    obm webhooks create https://hooks.example.com/mail --tenant shop --event email.bounced
    obm webhooks create https://hooks.example.com/mail --account-wide --only domain=shop.example
    """
    api = open_api()
    given = {
        "endpoint": endpoint,
        "events": event or [],
        **filters_of(api, only),
        "headers": headers_of(header),
        "svix_headers": bool(svix_headers),
    }
    tenant_id = api.owner_id(tenant, account_wide=account_wide)
    made = api.post("/webhooks", given, tenant_id=tenant_id)
    console.print(made["id"], made["signing_secret"])


@app.command()
def update(
    webhook: WebhookArgument,
    *,
    endpoint: Annotated[str, typer.Option(help="New https URL")] = "",
    event: EventOption = None,
    only: OnlyOption = None,
    header: HeaderOption = None,
    svix_headers: SvixOption = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="What waits for it is then sent")
    ] = None,
) -> None:
    """Change a webhook; what is not given does not change.

    \b
    obm webhooks update 01a21f53-9e27-7000-9aa0-821cb95b7018 --enable
    """
    api = open_api()
    given: dict[str, object] = {
        "endpoint": endpoint,
        "events": event,
        **filters_of(api, only),
        "headers": headers_of(header),
        "status": {True: "enabled", False: "disabled", None: ""}[enabled],
    }
    changes = {name: value for name, value in given.items() if value}
    if svix_headers is not None:
        changes["svix_headers"] = svix_headers
    api.patch(f"/webhooks/{webhook}", changes)


@app.command(name="rotate-secret")
def rotate_secret(
    webhook: WebhookArgument,
    *,
    grace_s: Annotated[int, typer.Option(help="Seconds that the old secret still signs")] = 86_400,
    force: Annotated[bool, typer.Option("--force", help="Also during an earlier rotation")] = False,
) -> None:
    """Replace the signing secret of a webhook, and print the new one. Meanwhile both sign.

    \b
    obm webhooks rotate-secret 01a21f53-9e27-7000-9aa0-821cb95b7018
    """
    given = {"grace_s": grace_s, "force": force}
    rotated = open_api().post(f"/webhooks/{webhook}/signing-secret/rotate", given)
    console.print(rotated["signing_secret"])


@app.command(name="revoke-secret")
def revoke_secret(webhook: WebhookArgument) -> None:
    """Stop signing with the secret that a rotation has replaced.

    \b
    obm webhooks revoke-secret 01a21f53-9e27-7000-9aa0-821cb95b7018
    """
    open_api().post(f"/webhooks/{webhook}/signing-secret/revoke-previous")


@app.command()
def test(webhook: WebhookArgument) -> None:
    """Send webhook.test to a webhook, and print the id of the event.

    \b
    obm webhooks test 01a21f53-9e27-7000-9aa0-821cb95b7018
    """
    console.print(open_api().post(f"/webhooks/{webhook}/test")["id"])


@app.command()
def events(webhook: WebhookArgument) -> None:
    """List the latest events of a webhook, newest first: what was sent to it, or is to be.

    \b
    obm webhooks events 01a21f53-9e27-7000-9aa0-821cb95b7018
    """
    found = open_api().get(f"/webhooks/{webhook}/events", limit="100")["data"]
    print_table(
        (id_column("event"), "type", "status", "attempts", "response", "error"),
        (
            (
                one["id"],
                one["type"],
                one["status"],
                str(one["attempt_count"]),
                str(one["http_status_code"] or ""),
                one["error"] or "",
            )
            for one in found
        ),
    )


@app.command()
def attempts(webhook: WebhookArgument, event: EventArgument) -> None:
    """List the attempts to send an event to a webhook, newest first, with the responses.

    \b
    obm webhooks attempts 01a21f53-9e27-7000-9aa0-821cb95b7018 01a21f53-a046-7000-ad48-4b5d37e1b20f
    """
    found = open_api().items(f"/webhooks/{webhook}/events/{event}/attempts")
    print_table(
        ("sent at", "ms", "status", "response"),
        (
            (
                utc_time(one["sent_at"]),
                str(one["duration_ms"]),
                str(one["http_status_code"] or ""),
                one["error"] or one["response"],
            )
            for one in found
        ),
    )


@app.command()
def replay(webhook: WebhookArgument, event: EventArgument) -> None:
    """Send an event to a webhook again, with the same id.

    \b
    obm webhooks replay 01a21f53-9e27-7000-9aa0-821cb95b7018 01a21f53-a046-7000-ad48-4b5d37e1b20f
    """
    open_api().post(f"/webhooks/{webhook}/events/{event}/replay")


@app.command()
def recover(
    webhook: WebhookArgument,
    *,
    since: Annotated[str, typer.Option(help="Time, ISO 8601; UTC by default")],
    until: Annotated[str, typer.Option(help="Time; now by default")] = "",
    event: EventOption = None,
) -> None:
    """Send the events of a time again that a webhook has missed, or that have failed.

    \b
    obm webhooks recover 01a21f53-9e27-7000-9aa0-821cb95b7018 --since 2026-11-28T06:00
    """
    given: dict[str, object] = {"since": since, "types": event or []}
    if until:
        given["until"] = until
    open_api().post(f"/webhooks/{webhook}/recover", given)


@app.command()
def recovery(webhook: WebhookArgument) -> None:
    """Show how far the latest recovery of a webhook is.

    \b
    obm webhooks recovery 01a21f53-9e27-7000-9aa0-821cb95b7018
    """
    found = open_api().get(f"/webhooks/{webhook}/recovery")
    print_table(
        ("status", "since", "until", "recovered"),
        [
            (
                found["status"],
                utc_time(found["since"]),
                utc_time(found["until"]),
                str(found["recovered"]),
            )
        ],
    )


@app.command()
def delete(webhook: WebhookArgument) -> None:
    """Delete a webhook. What waits for it is not sent.

    \b
    obm webhooks delete 01a21f53-9e27-7000-9aa0-821cb95b7018
    """
    open_api().delete(f"/webhooks/{webhook}")


def filters_of(api: Api, only: list[str] | None) -> dict[str, list[str]]:
    """The fields of a webhook. Raises ConfigError."""
    found: dict[str, list[str]] = defaultdict(list)
    for one in only or []:
        kind, _, value = one.partition("=")
        if kind not in FILTERS or not value:
            raise ConfigError(f"Write --only as one of {', '.join(f'{f}=…' for f in FILTERS)}.")
        named = kind in {"tenant", "domain"}
        found[FILTERS[kind]].append(str(api.find(f"{kind}s", value)["id"]) if named else value)
    return found


def headers_of(lines: list[str] | None) -> dict[str, str]:
    """Raises ConfigError."""
    pairs = [line.partition(":") for line in lines or []]
    if not all(colon for _, colon, _ in pairs):
        raise ConfigError("Write --header as 'Name: value'.")
    return {name.strip(): value.strip() for name, _, value in pairs}
