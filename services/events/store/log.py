"""The log, the state of its messages, and the rows that lists and webhooks need.

A batch takes two statements if all its messages are new, and four otherwise, because a statement
costs more than a few rows.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from operator import attrgetter

from contracts.router.v1.events_pb2 import MessageClosed
from kernel.database import Transaction
from kernel.days import first_day_bound
from kernel.ids import uuid7_text
from kernel.topics import event_id
from services.events.domain.endpoint import WebhookEndpoint, endpoints_by_owner
from services.events.domain.figures.counting import FigureDelta
from services.events.domain.figures.facts import decode_facts, encode_facts
from services.events.domain.log_event import PARTITIONED_KINDS, LogEvent, StatusRank
from services.events.domain.search_columns import search_columns_of
from services.events.domain.state import LogEntry, MessageState
from services.events.store.emails import NewEmail
from services.events.store.figures.deltas import INSERT_DELTAS, encode_deltas
from services.events.store.webhook_deliveries import NewWebhookDelivery
from services.events.store.webhooks import endpoint_from_json

# The first day of the ids excludes partitions; an array of ids does not.
# Existing emails and states are not changed, but a state is locked until the commit, so that the
# events in the log can be read afterwards. The account of a message whose accept is in
# another batch is that of the directory, if it is known already. That of a tenant that is not known
# yet is kept for the next batch. The transaction gets its id here, before positions are chosen:
# see domain.settled.
INSERT_NEW = """
    WITH email AS (
        INSERT INTO events.emails (tenant_id, email_id, message_id, rank, sent, test, account_id)
        SELECT tenant_id, email_id, message_id, rank, sent, test, nullif(account_id, '')::uuid
        FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::smallint[], %s::bool[], %s::bool[],
            %s::text[]) AS v(tenant_id, email_id, message_id, rank, sent, test, account_id)
        ON CONFLICT DO NOTHING RETURNING email_id
    ), state AS (
        INSERT INTO events.state AS existing (subject_id, tenant_id, email_id, recipient, domain,
            account_id, seq, public_seq, rank, closed, closed_at, delayed_at, facts)
        SELECT id, tenant_id, email_id, recipient, domain, coalesce(nullif(account_id, '')::uuid,
                (SELECT t.account_id FROM events.tenant_accounts t
                    WHERE t.tenant_id = v.tenant_id)),
            seq, public_seq, rank, closed,
            to_timestamp(nullif(closed_at, 0)), to_timestamp(nullif(delayed_at, 0)), facts
        FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[],
            %s::int[], %s::int[], %s::smallint[], %s::smallint[], %s::float8[], %s::float8[],
            %s::bytea[])
            AS v(id, tenant_id, email_id, recipient, domain, account_id, seq, public_seq, rank,
                closed, closed_at, delayed_at, facts)
        ON CONFLICT (email_id, subject_id) DO UPDATE SET seq = existing.seq WHERE false
        RETURNING subject_id
    ), account AS (
        SELECT tenant_id, account_id FROM events.tenant_accounts WHERE tenant_id = ANY(%s::uuid[])
    ), new_tenant AS (
        INSERT INTO events.tenant_accounts (tenant_id, account_id)
        SELECT v.tenant_id, v.account_id
        FROM unnest(%s::uuid[], %s::uuid[]) AS v(tenant_id, account_id)
        WHERE NOT EXISTS (SELECT FROM account WHERE account.tenant_id = v.tenant_id)
        ON CONFLICT DO NOTHING
    )
    SELECT ARRAY(SELECT email_id::text FROM email), ARRAY(SELECT subject_id::text FROM state),
        (SELECT json_agg(json_build_array(id, owner_id, url, convert_from(secret, 'UTF8'),
            event_types, failures, test, account_wide, tenant_ids,
            convert_from(CASE WHEN previous_until > now() THEN previous_secret END, 'UTF8'),
            domain_ids, tags, streams, svix_headers, convert_from(headers, 'UTF8')))
         FROM events.webhooks
         WHERE owner_id = ANY(%s::uuid[] || ARRAY(SELECT account_id FROM account))
            AND deleted_at IS NULL AND enabled),
        (SELECT json_object_agg(tenant_id, account_id) FROM account), pg_current_xact_id()::text
"""
STATES_OF = """
    SELECT subject_id::text, tenant_id::text, email_id::text, recipient, seq, public_seq, rank,
        closed, closed_at, delayed_at, facts
    FROM events.state
    WHERE subject_id = ANY(%s::uuid[]) AND email_id = ANY(%s::uuid[])
        AND subject_id >= %s
"""
REPEATS = """
    SELECT event_id::text FROM events.log
    WHERE subject_id = ANY(%s::uuid[]) AND event_id = ANY(%s::uuid[])
        AND subject_id >= %s
    UNION ALL SELECT event_id::text FROM events.unpartitioned_log WHERE event_id = ANY(%s::uuid[])
"""
# Payloads are concatenated: an array of bytea would be sent as hexadecimal text.
ROWS = """
        INSERT INTO events.{table} (subject_id, event_id, position, tenant_id, kind, seq,
            public_seq, payload, type, test, email_id, account_id, recipient, site, bounce_class)
        SELECT v.subject_id, v.event_id, v.position, v.tenant_id, v.kind, v.seq, v.public_seq,
            substring(%b::bytea FROM v.start FOR v.length), nullif(v.type, 0),
            CASE WHEN v.type > 0 THEN v.test END, nullif(v.email_id, '')::uuid,
            nullif(v.account_id, '')::uuid, nullif(v.recipient, ''), nullif(v.site, ''),
            nullif(v.bounce_class, '')
        FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::smallint[], %s::int[],
            %s::int[], %s::int[], %s::int[], %s::smallint[], %s::bool[], %s::text[], %s::text[],
            %s::text[], %s::text[], %s::text[])
            AS v(subject_id, event_id, position, tenant_id, kind, seq, public_seq, start, length,
                type, test, email_id, recipient, site, bounce_class, account_id)
"""
# An insert into the log happens under the lock of the message's state, after repeats were removed;
# so a conflict is a bug and must fail. For other events nothing is locked.
INTO_LOG = ROWS.format(table="log")
INTO_UNPARTITIONED_LOG = ROWS.format(table="unpartitioned_log") + " ON CONFLICT DO NOTHING"
STATES = """
        UPDATE events.state s SET seq = v.seq, public_seq = v.public_seq, rank = v.rank,
            closed = v.closed, closed_at = to_timestamp(nullif(v.closed_at, 0)),
            delayed_at = to_timestamp(nullif(v.delayed_at, 0)), facts = v.facts
        FROM unnest(%s::uuid[], %s::uuid[], %s::int[], %s::int[], %s::smallint[],
            %s::smallint[], %s::float8[], %s::float8[], %s::bytea[])
            AS v(id, email_id, seq, public_seq, rank, closed, closed_at, delayed_at, facts)
        WHERE s.subject_id = v.id AND s.email_id = v.email_id
            AND s.subject_id >= %s
"""
# IS TRUE keeps the planner from using the index by rank, in which an email is slow to find.
RANKS = """
        UPDATE events.emails e SET rank = v.rank
        FROM unnest(%s::uuid[], %s::uuid[], %s::smallint[], %s::smallint[])
            AS v(tenant_id, email_id, rank, held)
        WHERE e.tenant_id = v.tenant_id AND e.email_id = v.email_id
            AND (e.rank < v.rank OR e.rank = v.held) IS TRUE
            AND e.email_id >= %s
"""
DELIVERIES = """
        INSERT INTO events.webhook_deliveries
            (endpoint_id, position, event_id, subject_id, owner_id, type, token, due_at)
        SELECT v.*, now() + make_interval(secs => CASE WHEN token IS NULL THEN 0 ELSE %s END)
        FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::text[],
            %s::uuid[]) AS v(endpoint_id, position, event_id, subject_id, owner_id, type, token)
"""


@dataclass(frozen=True, slots=True)
class InsertedBatch:
    """The new emails and messages of a batch, the enabled endpoints of each tenant and account
    that has events in it, and the accounts of these tenants."""

    emails: set[str]
    states: set[str]
    endpoints: Mapping[str, Sequence[WebhookEndpoint]]
    accounts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LogWrite:
    """The rows that a batch writes. positions: by event id. accounts: by tenant, as far as they are
    known. ranks: by (tenant, email). released: those of ranks that were held before. lease_s: of
    deliveries that are inserted with a claim."""

    entries: Sequence[LogEntry]
    positions: Mapping[str, str]
    accounts: Mapping[str, str] = field(default_factory=dict)
    states: Collection[MessageState] = ()
    ranks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    released: Collection[tuple[str, str]] = ()
    deliveries: Sequence[NewWebhookDelivery] = ()
    deltas: Sequence[FigureDelta] = ()
    lease_s: float = 0.0


async def insert_new(
    tx: Transaction,
    *,
    emails: Iterable[NewEmail],
    states: Iterable[MessageState],
    accounts: Mapping[str, str],
) -> InsertedBatch:
    """Insert new emails and states, sorted so that replicas do not deadlock. accounts: of all
    tenants with events, empty where no event tells it; an account's own events have its id in the
    place of a tenant's."""
    ordered_emails = sorted(emails, key=attrgetter("email_id"))
    ordered = sorted(states, key=attrgetter("subject_id"))
    owners = {*accounts, *accounts.values()} - {""}
    named = sorted(one for one in accounts.items() if one[1] not in {"", one[0]})
    [(new_emails, new_states, endpoints, known, _)] = await tx.rows(
        INSERT_NEW,
        [
            [e.tenant_id for e in ordered_emails],
            [e.email_id for e in ordered_emails],
            [e.message_id for e in ordered_emails],
            [int(e.rank) for e in ordered_emails],
            [e.sent for e in ordered_emails],
            [e.test for e in ordered_emails],
            [e.account_id for e in ordered_emails],
            [s.subject_id for s in ordered],
            [s.tenant_id for s in ordered],
            [s.email_id for s in ordered],
            [s.recipient for s in ordered],
            [s.recipient.rpartition("@")[2] for s in ordered],
            [accounts.get(s.tenant_id, "") for s in ordered],
            *_mutable_columns(ordered),
            list(accounts),
            [tenant_id for tenant_id, _ in named],
            [account_id for _, account_id in named],
            list(owners),
        ],
    )
    found = [endpoint_from_json(one) for one in endpoints or ()]
    all_accounts = {**accounts, **(known or {})}
    by_owner = endpoints_by_owner(found, all_accounts)
    return InsertedBatch(set(new_emails), set(new_states), by_owner, all_accounts)


async def load_states_and_repeats(
    tx: Transaction, log_events: Sequence[LogEvent]
) -> tuple[list[MessageState], set[str]]:
    """The states of the messages, and the ids of the events that are recorded already.

    Call it after `insert_new`: only a later statement sees what the previous holder of the locks
    committed.
    """
    subjects = sorted({log_event.subject_id for log_event in log_events})
    day = first_day_bound(subjects)
    emails = sorted({log_event.email_id for log_event in log_events})
    states = await tx.rows(STATES_OF, [subjects, emails, day])
    partitioned = [one.event_id for one in log_events if one.kind in PARTITIONED_KINDS]
    others = [one.event_id for one in log_events if one.kind not in PARTITIONED_KINDS]
    repeats = await tx.rows(REPEATS, [subjects, partitioned, day, others])
    found = [MessageState._make((*row[:-1], decode_facts(row[-1]))) for row in states]
    return found, {event_id for (event_id,) in repeats}


async def recorded_event_ids(tx: Transaction, log_events: Iterable[LogEvent]) -> set[str]:
    """The ids of those endpoint events that are recorded already."""
    rows = await tx.rows(
        "SELECT event_id::text FROM events.unpartitioned_log WHERE event_id = ANY(%s::uuid[])",
        ([log_event.event_id for log_event in log_events],),
    )
    return {row[0] for row in rows}


def positions_of(entries: Iterable[LogEntry]) -> dict[str, str]:
    """New positions in the order of recording, by event id."""
    return {entry.event.event_id: uuid7_text() for entry in entries}


async def write_batch(tx: Transaction, batch: LogWrite) -> None:
    """Write everything in one statement."""
    partitioned = [entry for entry in batch.entries if entry.event.kind in PARTITIONED_KINDS]
    others = [entry for entry in batch.entries if entry.event.kind not in PARTITIONED_KINDS]
    parts = [
        (INTO_LOG, _rows(partitioned, batch)) if partitioned else None,
        (INTO_UNPARTITIONED_LOG, _rows(others, batch)) if others else None,
        (STATES, _states(batch.states)) if batch.states else None,
        (RANKS, _ranks(batch.ranks, batch.released)) if batch.ranks else None,
        (DELIVERIES, [batch.lease_s, *map(list, zip(*batch.deliveries, strict=True))])
        if batch.deliveries
        else None,
        (INSERT_DELTAS, [encode_deltas(batch.deltas)]) if batch.deltas else None,
    ]
    needed = [part for part in parts if part]
    if not needed:
        return
    ctes = [f"part_{n} AS ({sql})" for n, (sql, _) in enumerate(needed[:-1])]
    last, _ = needed[-1]
    statement = f"WITH {', '.join(ctes)} {last}" if ctes else last
    await tx.execute(statement, [value for _, values in needed for value in values])


def _rows(entries: Sequence[LogEntry], batch: LogWrite) -> list[object]:
    found = [search_columns_of(entry) for entry in entries]
    accounts = [
        batch.accounts.get(entry.event.tenant_id, "") if one.type else ""
        for entry, one in zip(entries, found, strict=True)
    ]
    payloads = [e.event.payload.SerializeToString() for e in entries]
    lengths = [len(payload) for payload in payloads]
    return [
        b"".join(payloads),
        [e.event.subject_id for e in entries],
        [e.event.event_id for e in entries],
        [batch.positions[e.event.event_id] for e in entries],
        [e.event.tenant_id for e in entries],
        [int(e.event.kind) for e in entries],
        [e.seq for e in entries],
        [e.public_seq for e in entries],
        list(accumulate(lengths[:-1], initial=1)),
        lengths,
        *map(list, zip(*found, strict=True)),
        accounts,
    ]


def _states(states: Collection[MessageState]) -> list[object]:
    ordered = sorted(states, key=attrgetter("subject_id"))
    ids = [state.subject_id for state in ordered]
    emails = [state.email_id for state in ordered]
    return [ids, emails, *_mutable_columns(ordered), first_day_bound(ids)]


def _mutable_columns(states: Sequence[MessageState]) -> list[object]:
    return [
        [s.seq for s in states],
        [s.public_seq for s in states],
        [int(s.rank) for s in states],
        [s.closed for s in states],
        [_seconds(s.closed_at) for s in states],
        [_seconds(s.delayed_at) for s in states],
        [encode_facts(s.facts) for s in states],
    ]


def _seconds(moment: datetime | None) -> str:
    """Unix time, and 0 for none: psycopg encodes an array without NULLs faster."""
    return repr(moment.timestamp()) if moment else "0"


def _ranks(
    ranks: Mapping[tuple[str, str], int], released: Collection[tuple[str, str]]
) -> list[object]:
    ordered = sorted(ranks)
    ids = [email_id for _, email_id in ordered]
    levels = [int(ranks[key]) for key in ordered]
    held = [int(StatusRank.HELD) if key in released else -1 for key in ordered]
    return [[tenant for tenant, _ in ordered], ids, levels, held, first_day_bound(ids)]


async def find_open(tx: Transaction, message_ids: Sequence[str]) -> list[str]:
    """The messages that are not closed in the log; this includes unknown ones."""
    closes = [event_id(MessageClosed(message_id=one)) for one in message_ids]
    rows = await tx.rows(
        "SELECT subject_id::text FROM events.log WHERE subject_id = ANY(%s::uuid[])"
        " AND event_id = ANY(%s::uuid[])",
        (list(message_ids), closes),
    )
    closed = {row[0] for row in rows}
    return [message_id for message_id in message_ids if message_id not in closed]
