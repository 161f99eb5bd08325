"""`obm learned-versions`: what shield has learned from outcomes, and whether it is used."""

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.api import open_api
from cli.options import noun
from cli.printing import console, id_column, print_table, utc_time

app = noun("What was learned: its versions, and how to promote or withdraw one.")

Version = Annotated[str, typer.Argument(help="Version, by id")]
Reason = Annotated[str, typer.Option(help="Why: for the audit log")]


@app.command("list")
def list_versions(*, limit: Annotated[int, typer.Option(min=1, help="Most versions")] = 20) -> None:
    """List versions, newest first (times in UTC)."""
    found = open_api().items("/shield/versions")
    print_table(
        (
            *(id_column("version"), "role", "published", "due", "campaigns", "AUC", "false pos."),
            *("changed", "by", "reason"),
        ),
        (row_of(one) for one in islice(found, limit)),
    )


def row_of(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        one["id"],
        one["role"],
        utc_time(one["published_at"]),
        utc_time(one["due_at"] or ""),
        f"{one['campaigns']:,}",
        f"{one['auc']:.4f}",
        f"{one['fpr']:.2%}",
        one["change"] or "",
        one["reviewed_by"] or "",
        one["reason"] or "",
    )


@app.command()
def promote(version: Version, *, reason: Reason) -> None:
    """Use the version that scores beside the live one now, before its time."""
    review(version, "promote", reason)
    console.print(f"{version} will be used within seconds")


@app.command()
def withdraw(version: Version, *, reason: Reason) -> None:
    """Go back from the live version to the one before, or do not use the one beside it."""
    review(version, "withdraw", reason)
    console.print(f"{version} will not be used, within seconds")


def review(version: str, action: str, reason: str) -> None:
    path = f"/shield/versions/{quote(version, safe='')}/{action}"
    open_api().post(path, {"reason": reason})
