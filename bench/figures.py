"""`make bench-figures`: what counting costs the events service, and how fast figures are read.

Batches of events go through the handler of the log on real PostgreSQL, in turns with counting and
without it. Then the roll-ups of thirty days are queried."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Annotated, Any
from unittest import mock

import typer
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from bench import record
from bench.folder import folder_of
from bench.printing import ReportProgress, console, print_table, progress
from bench.servers import servers
from cli.environment import migrate_all
from contracts.delivery.v1 import events_pb2 as delivery
from contracts.events.v1.events_service_pb2 import GetMetricsRequest
from contracts.ingest.v1 import events_pb2 as ingest
from contracts.router.v1 import events_pb2 as router
from contracts.shield.v1.events_pb2 import VERDICT_PASS, MessageScreened
from kernel.database import Database
from kernel.ids import uuid7_of, uuid7_text
from kernel.migrate import role_url
from services.events.api import EventsServicer
from services.events.app import SESSION_SETTINGS
from services.events.domain import state
from services.events.handlers import Handlers
from services.events.store.figures.folding import fold_deltas

DAYS, BATCH, TURN = 30, 200, 2_000  # messages of a batch, and of a turn
FOLD = 5_000
DOMAINS, KEYS, IPS, SITES, TENANTS, CAMPAIGNS, BOUNCED = 2, 2, 4, 24, 5, 3, 0.03
QUERIES = 300
NAMES: tuple[tuple[str, ...], ...] = (
    (), ("period",), ("period", "domain"), ("site",), ("ip",), ("period", "site"), ("tag",),
    ("recipient_domain",), ("bounce_class",),
)  # fmt: skip

app = typer.Typer(add_completion=False, rich_markup_mode=None)
Parts = list[list[Message]]


@app.command()
def main(
    *,
    messages: Annotated[int, typer.Option(min=TURN * 2)] = 40_000,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the figures to this file")
    ] = None,
) -> None:
    """Measure the share of counting in the CPU time of events, and the time of queries."""
    document = record.describe_origin()
    with folder_of("figures") as folder, servers(folder) as started, progress(console) as report:
        migrate_all(started.database_url)
        url = partial(role_url, started.database_url)
        figures = asyncio.run(
            measure(url("events_system"), url("events_tenant"), messages, report=report)
        )
    rows = [(name, f"{value:,g}") for name, value in flat(figures)]
    print_table(console, "Figures", columns=("figure", "value"), rows=rows)
    if json_file:
        record.write(document | figures, json_file)


def flat(figures: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from ((f"{name} {key}", one) for key, one in value.items())
        else:
            yield name, value


async def measure(
    system_url: str, tenant_url: str, messages: int, *, report: ReportProgress
) -> dict[str, Any]:
    system = Database(system_url, name="system", session=SESSION_SETTINGS)
    tenant = Database(tenant_url, name="tenant")
    handlers = Handlers(lambda _: 0, lambda _: None, 60.0)
    random, tenants = Random(1), [uuid7_text() for _ in range(TENANTS)]
    cpu_s: dict[bool, float] = defaultdict(float)
    try:
        for turn in range(messages // TURN):
            report("messages", turn * TURN, messages)
            counted = turn % 2 == 0
            parts = turn_of(random, tenants)
            with nullcontext() if counted else no_counting():
                before = time.process_time()
                for part in parts:
                    async with system.transaction() as tx:
                        await handlers.on_event(part, tx)
                while counted and await fold(system):
                    pass
                cpu_s[counted] += time.process_time() - before
        nothing: Any = None
        servicer = EventsServicer(system, tenant, feed=nothing, webhooks=nothing)
        times_ms = await query(servicer, tenants)
    finally:
        await tenant.close()
        await system.close()
    each = messages // TURN // 2 * TURN
    with_ms, without_ms = (cpu_s[counted] * 1000 / each for counted in (True, False))
    return {
        "messages": messages,
        "cpu_ms_per_message": {"counting": with_ms, "not_counting": without_ms},
        "counting_share": (with_ms - without_ms) / with_ms,
        "metrics_ms": {"p50": times_ms[len(times_ms) // 2], "p99": times_ms[-len(times_ms) // 100]},
    }


@contextmanager
def no_counting() -> Iterator[None]:
    """Without facts nothing is counted, encoded or decoded."""
    with mock.patch.object(state, "merge_facts", lambda facts, _: facts):
        yield


async def fold(system: Database) -> bool:
    async with system.transaction() as tx:
        return await fold_deltas(tx, FOLD) == FOLD


async def query(servicer: EventsServicer, tenants: Sequence[str]) -> list[float]:
    """Milliseconds of each query over thirty days, sorted."""
    random, found = Random(2), []
    start = (datetime.now(UTC) - timedelta(days=DAYS)).isoformat()
    for n in range(QUERIES):
        request = GetMetricsRequest(
            tenant_id=random.choice(tenants),
            dimensions=NAMES[n % len(NAMES)],
            by=random.choice(("event", "sent")),
            start_date=start,
            timezone=random.choice(("UTC", "Europe/Berlin")),
        )
        began = time.perf_counter()
        await servicer.GetMetrics(request, mock.Mock())
        found.append((time.perf_counter() - began) * 1000)
    return sorted(found)


def turn_of(random: Random, tenants: Sequence[str]) -> Parts:
    """The events of some messages as they arrive under load: in three batches of each, all of one
    minute."""
    parts: Parts = []
    day = datetime.now(UTC) - timedelta(days=random.uniform(0.1, DAYS))
    for _ in range(TURN // BATCH):
        lives = [
            life_of(random, tenants, day + timedelta(seconds=random.uniform(0, 60)))
            for _ in range(BATCH)
        ]
        parts += [[event for life in lives for event in life[step]] for step in range(3)]
    return parts


def life_of(random: Random, tenants: Sequence[str], at: datetime) -> Parts:
    number, ms = random.randrange(SITES), int(at.timestamp() * 1000)
    message_id, email_id = (
        str(uuid7_of(ms, sha256(random.randbytes(16)).digest())) for _ in range(2)
    )
    ids: dict[str, Any] = {
        "message_id": message_id,
        "tenant_id": random.choice(tenants),
        "email_id": email_id,
        "recipient": f"u{random.randrange(10**6)}@site{number}.example",
    }
    context = ingest.MessageContext(
        **ids, domain_id=f"domain-{random.randrange(DOMAINS)}", accepted_at=stamp(at),
        due_at=stamp(at), api_key_id=f"key-{random.randrange(KEYS)}", content_bytes=10_000,
    )  # fmt: skip
    accepted = ingest.MessageAccepted(
        message_id=message_id, context=context, to=[ids["recipient"]], subject="Your order",
        tags={"campaign": f"c{random.randrange(CAMPAIGNS)}"}, stream="transactional",
    )  # fmt: skip
    screened = MessageScreened(message_id=message_id, context=context, verdict=VERDICT_PASS)
    place: dict[str, Any] = {
        "egress_id": f"ip-{random.randrange(IPS)}",
        "site": f"site{number}.example",
    }
    assigned = router.DeliveryAssigned(
        message_id=message_id, attempt=1, context=context, assigned_at=stamp(at), **place
    )
    ended = stamp(at + timedelta(seconds=random.uniform(0.1, 5)))
    bounced = random.random() < BOUNCED
    end = ends_of(ids, place, ended=ended, bounced=bounced)
    return [[accepted, screened], [assigned], end]


def ends_of(
    ids: dict[str, Any], place: dict[str, Any], *, ended: Timestamp, bounced: bool
) -> list[Message]:
    outcomes = (delivery.ATTEMPT_OUTCOME_DELIVERED, delivery.ATTEMPT_OUTCOME_PERMANENT)
    states = (router.CLOSED_STATE_DELIVERED, router.CLOSED_STATE_BOUNCED)
    attempted = delivery.DeliveryAttempted(
        **ids, attempt=1, outcome=outcomes[bounced], attempted_at=ended, duration_ms=50,
        reply=delivery.Reply(code=550 if bounced else 250, text="queued"), **place,
    )  # fmt: skip
    closed = router.MessageClosed(
        **ids, state=states[bounced], attempt=1, closed_at=ended,
        bounce_class="invalid_recipient" if bounced else "",
    )  # fmt: skip
    return [attempted, closed]


def stamp(moment: datetime) -> Timestamp:
    found = Timestamp()
    found.FromDatetime(moment)
    return found


if __name__ == "__main__":
    app()
