"""`python -m bench.neighbour`: what a tenant notices of the million messages of another one.

The time from the API's response to the first attempt, alone and beside it, through the whole
engine."""

import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from bench import record
from bench.contestant import Contestant
from bench.engine import create_sender, engine, post
from bench.folder import folder_of
from bench.load.latency import Summary
from bench.messages import RESERVED
from bench.printing import console, print_table, progress
from bench.signature import time_rsa_2048
from bench.sink.client import sink
from bench.turns import FULL, QUICK, TurnContext, first_attempts, warm_up
from kernel import clock

NEIGHBOUR_DOMAIN = f"neighbour.{RESERVED}"
AHEAD = timedelta(hours=1)
WAIT_S = 30.0
POLL_S = 0.5

# Copies of a message that waits for its time, and due now. Of two values of a protobuf field, here
# the message id, the last one counts.
COPY = """
INSERT INTO router.messages (message_id, tenant_id, email_id, cell, queue_id, state, due_at,
    expires_at, address_hash, context)
SELECT new.id, m.tenant_id, m.email_id, m.cell, m.queue_id, 'queued', now(), m.expires_at,
    m.address_hash, m.context || '\\x0a24'::bytea || convert_to(new.id::text, 'UTF8')
FROM router.messages AS m
CROSS JOIN LATERAL (SELECT uuidv7() AS id FROM generate_series(1, %s)) AS new
WHERE m.message_id = %s::uuid
"""
ACTIVATE = """
UPDATE router.queues SET next_at = now(), active = true, version = version + 1,
    first_due_at = '-infinity'
WHERE tenant_id = %s::uuid
"""
SCHEDULED = """
SELECT message_id::text FROM router.messages WHERE tenant_id = %s::uuid AND state = 'queued'
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@dataclass(frozen=True, slots=True)
class NeighbourFigures:
    """alone_ms, beside_ms: from the response to the first attempt. left: messages of the other
    tenant that still waited at the end. per_s: the rate at which it sent meanwhile."""

    alone_ms: Summary
    beside_ms: Summary
    left: int
    per_s: float

    @property
    def ratio_p99(self) -> float:
        return round(self.beside_ms["p99"] / self.alone_ms["p99"], 2)


@app.command()
def main(
    *,
    messages: Annotated[
        int, typer.Option(min=1, help="messages of the other tenant that wait")
    ] = 1_000_000,
    quick: Annotated[bool, typer.Option(help="measure fewer messages")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the figures to this file")
    ] = None,
) -> None:
    """Measure the time to the first attempt, alone and beside a tenant with many waiting
    messages."""
    document = record.describe_origin() | {"signature_ms": time_rsa_2048()}
    with sink([]) as started, progress(console) as report_progress:
        context = TurnContext(started, QUICK if quick else FULL, report_progress)
        with folder_of("neighbour") as root, engine(root, context.routes) as contestant:
            figures = measure(context, contestant, messages)
    show(figures)
    if json_file:
        record.write(document | asdict(figures), json_file)


def measure(context: TurnContext, contestant: Contestant, messages: int) -> NeighbourFigures:
    warm_up(context, contestant)
    alone = first_attempts(context, contestant)
    with psycopg.connect(contestant.settings["ROUTER_SYSTEM_DATABASE_URL"], autocommit=True) as one:
        tenant_id = fill(context, contestant, one, messages=messages)
        write_back(contestant.database_url)
        before, began_s = count(one, tenant_id), time.monotonic()
        beside = first_attempts(context, contestant)
        left = count(one, tenant_id)
    per_s = (before - left) / (time.monotonic() - began_s)
    return NeighbourFigures(alone, beside, left, round(per_s, 1))


def fill(
    context: TurnContext,
    contestant: Contestant,
    connection: psycopg.Connection,
    *,
    messages: int,
) -> str:
    """Let another tenant have so many messages waiting, for all sites. Returns its id."""
    sender = create_sender(contestant.settings, NEIGHBOUR_DOMAIN)
    for domain in context.routes:
        post(contestant.port, "/v1/emails", key=sender.key, body=newsletter(domain))
    seeds = wait_for_seeds(connection, sender.tenant_id, len(context.routes))
    connection.execute("SET synchronous_commit = off")
    each = messages // len(seeds)
    for number, message_id in enumerate(seeds):
        context.report_progress("waiting messages", number * each, messages)
        connection.execute(COPY, (each, message_id))
    connection.execute("ANALYZE router.messages")
    connection.execute(ACTIVATE, (sender.tenant_id,))
    return sender.tenant_id


def write_back(url: str) -> None:
    """Write to disk what filling has changed, so that messages do not compete with it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def newsletter(domain: str) -> dict[str, object]:
    return {
        "from": f"news@{NEIGHBOUR_DOMAIN}",
        "to": [f"reader@{domain}"],
        "subject": "The news of this week",
        "text": "Everything that happened. " * 100,
        "html": "<p>Everything that happened.</p>" * 100,
        "stream": "broadcast",
        "scheduled_at": (clock.now() + AHEAD).isoformat(),
    }


def wait_for_seeds(connection: psycopg.Connection, tenant_id: str, number: int) -> list[str]:
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        seeds = [one for (one,) in connection.execute(SCHEDULED, (tenant_id,)).fetchall()]
        if len(seeds) == number:
            return seeds
        time.sleep(POLL_S)
    raise RuntimeError(f"only {len(seeds)} of {number} messages reached the router")


def count(connection: psycopg.Connection, tenant_id: str) -> int:
    [(number,)] = connection.execute(
        "SELECT count(*) FROM router.messages WHERE tenant_id = %s::uuid AND state = 'queued'",
        (tenant_id,),
    ).fetchall()
    return int(number)


def show(figures: NeighbourFigures) -> None:
    rows = [
        (name, *(f"{waits[key]:.1f}" for key in ("mean", "p50", "p99")))
        for name, waits in (("alone", figures.alone_ms), ("beside it", figures.beside_ms))
    ]
    title = "Response to first attempt, ms"
    print_table(console, title, columns=("", "mean", "p50", "p99"), rows=rows)
    console.print(
        f"p99 ratio {figures.ratio_p99}; the other tenant sent {figures.per_s} messages per second,"
        f" {figures.left:,} are left"
    )


if __name__ == "__main__":
    app()
