"""The log, the state of its messages, and what lists and webhooks need of them.

A batch costs two statements when all its messages are new, and four when not: a statement costs
more here than a few of the rows that it carries.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from operator import attrgetter

from contracts.router.v1.events_pb2 import MessageClosed
from kernel.database import Transaction
from kernel.ids import uuid7_text
from kernel.topics import event_id
from services.events.domain.endpoint import Endpoint
from services.events.domain.facts import LOGGED, Fact, Rank
from services.events.domain.state import Entry, State
from services.events.store.emails import Email
from services.events.store.tasks import NewTask

# Partitions are left out by the first and the last of the ids: by an array they are not.
# Emails and states that exist are left as they are, but a state is locked until the commit, so
# that the log can be asked afterwards what it knows.
OPEN = """
    WITH email AS (
        INSERT INTO events.emails (tenant_id, email_id, message_id, rank, sent, test)
        SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::smallint[], %s::bool[],
            %s::bool[])
        ON CONFLICT DO NOTHING RETURNING email_id
    ), state AS (
        INSERT INTO events.state AS held (subject_id, tenant_id, email_id, recipient, domain,
            seq, told, rank, closed, closed_at, delayed_at)
        SELECT id, tenant_id, email_id, recipient, domain, seq, told, rank, closed,
            to_timestamp(nullif(closed_at, 0)), to_timestamp(nullif(delayed_at, 0))
        FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::int[],
            %s::int[], %s::smallint[], %s::smallint[], %s::float8[], %s::float8[])
            AS v(id, tenant_id, email_id, recipient, domain, seq, told, rank, closed, closed_at,
                delayed_at)
        ON CONFLICT (email_id, subject_id) DO UPDATE SET seq = held.seq WHERE false
        RETURNING subject_id
    )
    SELECT ARRAY(SELECT email_id::text FROM email), ARRAY(SELECT subject_id::text FROM state),
        (SELECT json_agg(json_build_array(id, tenant_id, url, convert_from(secret, 'UTF8'),
            event_types, failures, test))
         FROM events.webhooks
         WHERE tenant_id = ANY(%s::uuid[]) AND deleted_at IS NULL AND enabled)
"""
STATES_OF = """
    SELECT subject_id::text, tenant_id::text, email_id::text, recipient, seq, told, rank, closed,
        closed_at, delayed_at
    FROM events.state
    WHERE subject_id = ANY(%s::uuid[]) AND email_id = ANY(%s::uuid[])
        AND subject_id BETWEEN %s::uuid AND %s::uuid
"""
REPEATS = """
    SELECT event_id::text FROM events.log
    WHERE subject_id = ANY(%s::uuid[]) AND event_id = ANY(%s::uuid[])
        AND subject_id BETWEEN %s::uuid AND %s::uuid
    UNION ALL SELECT event_id::text FROM events.facts WHERE event_id = ANY(%s::uuid[])
"""
# Payloads travel end to end: an array of them would be spelled out in hexadecimal digits.
ROWS = """
        INSERT INTO events.{table} (subject_id, event_id, position, tenant_id, kind, seq, told,
            payload)
        SELECT v.subject_id, v.event_id, v.position, v.tenant_id, v.kind, v.seq, v.told,
            substring(%b::bytea FROM v.start FOR v.length)
        FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::smallint[], %s::int[],
            %s::int[], %s::int[], %s::int[])
            AS v(subject_id, event_id, position, tenant_id, kind, seq, told, start, length)
"""
# Whoever inserts into the log holds the lock of the message's state and has asked for repeats under
# it, so that a conflict would be a bug, and shall fail. Nothing is locked for other facts.
INTO_LOG = ROWS.format(table="log")
INTO_FACTS = ROWS.format(table="facts") + " ON CONFLICT DO NOTHING"
STATES = """
        UPDATE events.state s SET seq = v.seq, told = v.told, rank = v.rank, closed = v.closed,
            closed_at = to_timestamp(nullif(v.closed_at, 0)),
            delayed_at = to_timestamp(nullif(v.delayed_at, 0))
        FROM unnest(%s::uuid[], %s::uuid[], %s::int[], %s::int[], %s::smallint[],
            %s::smallint[], %s::float8[], %s::float8[])
            AS v(id, email_id, seq, told, rank, closed, closed_at, delayed_at)
        WHERE s.subject_id = v.id AND s.email_id = v.email_id
            AND s.subject_id = ANY(%s::uuid[]) AND s.email_id = ANY(%s::uuid[])
            AND s.subject_id BETWEEN %s::uuid AND %s::uuid
"""
# IS TRUE: so that it is no condition for the index by rank, where an email is hard to find.
RANKS = """
        UPDATE events.emails e SET rank = v.rank
        FROM unnest(%s::uuid[], %s::uuid[], %s::smallint[], %s::smallint[])
            AS v(tenant_id, email_id, rank, held)
        WHERE e.tenant_id = v.tenant_id AND e.email_id = v.email_id
            AND (e.rank < v.rank OR e.rank = v.held) IS TRUE
            AND e.email_id BETWEEN %s::uuid AND %s::uuid
"""
TASKS = """
        INSERT INTO events.webhook_tasks
            (endpoint_id, position, event_id, subject_id, tenant_id, type, token, due_at)
        SELECT v.*, now() + make_interval(secs => CASE WHEN token IS NULL THEN 0 ELSE %s END)
        FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::text[],
            %s::uuid[]) AS v(endpoint_id, position, event_id, subject_id, tenant_id, type, token)
"""


@dataclass(frozen=True, slots=True)
class Opened:
    """What of a batch is new, by id, and the endpoints of its tenants that are called."""

    emails: set[str]
    states: set[str]
    endpoints: Sequence[Endpoint]


@dataclass(frozen=True, slots=True)
class Writing:
    """All that a batch has to write. positions: by event id. ranks: by (tenant, email); released:
    those that were held until now. lease_s: of the tasks that are born claimed."""

    entries: Sequence[Entry]
    positions: Mapping[str, str]
    states: Collection[State] = ()
    ranks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    released: Collection[tuple[str, str]] = ()
    tasks: Sequence[NewTask] = ()
    lease_s: float = 0.0


async def begin(
    tx: Transaction, *, emails: Iterable[Email], states: Iterable[State], tenants: Iterable[str]
) -> Opened:
    """Insert what is new. Sorted, so that replicas do not cross."""
    begun = sorted(emails, key=attrgetter("email_id"))
    ordered = sorted(states, key=attrgetter("subject_id"))
    [(new_emails, new_states, endpoints)] = await tx.rows(
        OPEN,
        [
            [e.tenant_id for e in begun],
            [e.email_id for e in begun],
            [e.message_id for e in begun],
            [int(e.rank) for e in begun],
            [e.sent for e in begun],
            [e.test for e in begun],
            [s.subject_id for s in ordered],
            [s.tenant_id for s in ordered],
            [s.email_id for s in ordered],
            [s.recipient for s in ordered],
            [s.recipient.rpartition("@")[2] for s in ordered],
            *_changing(ordered),
            list(tenants),
        ],
    )
    called = [
        Endpoint(one[0], one[1], one[2], one[3].encode(), *one[4:]) for one in endpoints or ()
    ]
    return Opened(set(new_emails), set(new_states), called)


async def known(tx: Transaction, facts: Sequence[Fact]) -> tuple[list[State], set[str]]:
    """The states of the facts' messages, and the ids of those facts that are in them already.

    After `begin`, in statements of their own: they see what the locks' owner before us wrote.
    """
    subjects = sorted({fact.subject_id for fact in facts})
    between = subjects[0], subjects[-1]
    emails = sorted({fact.email_id for fact in facts})
    states = await tx.rows(STATES_OF, [subjects, emails, *between])
    logged = [fact.event_id for fact in facts if fact.kind in LOGGED]
    others = [fact.event_id for fact in facts if fact.kind not in LOGGED]
    repeats = await tx.rows(REPEATS, [subjects, logged, *between, others])
    return [State(*row) for row in states], {event_id for (event_id,) in repeats}


async def known_facts(tx: Transaction, facts: Iterable[Fact]) -> set[str]:
    """Those of the facts without a message that are recorded."""
    rows = await tx.rows(
        "SELECT event_id::text FROM events.facts WHERE event_id = ANY(%s::uuid[])",
        ([fact.event_id for fact in facts],),
    )
    return {row[0] for row in rows}


def positions_of(entries: Iterable[Entry]) -> dict[str, str]:
    """A place in the order of recording for each, by event id."""
    return {entry.fact.event_id: uuid7_text() for entry in entries}


async def write(tx: Transaction, writing: Writing) -> None:
    """All of it in one statement."""
    logged = [entry for entry in writing.entries if entry.fact.kind in LOGGED]
    others = [entry for entry in writing.entries if entry.fact.kind not in LOGGED]
    parts = [
        (INTO_LOG, _rows(logged, writing.positions)) if logged else None,
        (INTO_FACTS, _rows(others, writing.positions)) if others else None,
        (STATES, _states(writing.states)) if writing.states else None,
        (RANKS, _ranks(writing.ranks, writing.released)) if writing.ranks else None,
        (TASKS, [writing.lease_s, *map(list, zip(*writing.tasks, strict=True))])
        if writing.tasks
        else None,
    ]
    needed = [part for part in parts if part]
    if not needed:
        return
    ctes = [f"part_{n} AS ({sql})" for n, (sql, _) in enumerate(needed[:-1])]
    last, _ = needed[-1]
    statement = f"WITH {', '.join(ctes)} {last}" if ctes else last
    await tx.execute(statement, [value for _, values in needed for value in values])


def _rows(entries: Sequence[Entry], positions: Mapping[str, str]) -> list[object]:
    payloads = [e.fact.event.SerializeToString() for e in entries]
    lengths = [len(payload) for payload in payloads]
    return [
        b"".join(payloads),
        [e.fact.subject_id for e in entries],
        [e.fact.event_id for e in entries],
        [positions[e.fact.event_id] for e in entries],
        [e.fact.tenant_id for e in entries],
        [int(e.fact.kind) for e in entries],
        [e.seq for e in entries],
        [e.told for e in entries],
        list(accumulate(lengths[:-1], initial=1)),
        lengths,
    ]


def _states(states: Collection[State]) -> list[object]:
    ordered = sorted(states, key=attrgetter("subject_id"))
    ids = [state.subject_id for state in ordered]
    emails = [state.email_id for state in ordered]
    return [ids, emails, *_changing(ordered), ids, emails, ids[0], ids[-1]]


def _changing(states: Sequence[State]) -> list[object]:
    return [
        [s.seq for s in states],
        [s.told for s in states],
        [int(s.rank) for s in states],
        [s.closed for s in states],
        [_seconds(s.closed_at) for s in states],
        [_seconds(s.delayed_at) for s in states],
    ]


def _seconds(moment: datetime | None) -> str:
    """Unix time for an array without nulls, which psycopg would look at one by one; 0: none."""
    return repr(moment.timestamp()) if moment else "0"


def _ranks(
    ranks: Mapping[tuple[str, str], int], released: Collection[tuple[str, str]]
) -> list[object]:
    ordered = sorted(ranks)
    ids = [email_id for _, email_id in ordered]
    levels = [int(ranks[key]) for key in ordered]
    held = [int(Rank.HELD) if key in released else -1 for key in ordered]
    return [[tenant for tenant, _ in ordered], ids, levels, held, min(ids), max(ids)]


async def unclosed(tx: Transaction, message_ids: Sequence[str]) -> list[str]:
    """Those of the messages that are unknown here, or open: whose close is not in the log."""
    closes = [event_id(MessageClosed(message_id=one)) for one in message_ids]
    rows = await tx.rows(
        "SELECT subject_id::text FROM events.log WHERE subject_id = ANY(%s::uuid[])"
        " AND event_id = ANY(%s::uuid[])",
        (list(message_ids), closes),
    )
    closed = {row[0] for row in rows}
    return [message_id for message_id in message_ids if message_id not in closed]
