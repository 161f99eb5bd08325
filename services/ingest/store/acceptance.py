"""Writes a group of accepted requests in one statement: keys, emails, messages, one outbox row.
Further outbox rows follow in the same transaction."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel.database import Database
from kernel.outbox import ENTRY_BYTES_MAX, Outbox, OutboxEntry, OutboxRow, pack_rows
from services.ingest.store.quotas import QuotaKey

# Unnested arrays give one plan and one round trip for any group size. Ids and numbers are sent as
# one text each and split here: PostgreSQL parses that faster than Python builds arrays. The caller
# sorts the rows of keys, so that two groups cannot deadlock.
_ACCEPT = """
WITH new_emails AS (
    INSERT INTO ingest.emails (email_id, tenant_id, message_ids, accepted, scheduled_at)
    SELECT email_id, tenant_id, string_to_array(ids, ',')::uuid[], accepted, scheduled_at
    FROM unnest(string_to_array(%b, ',')::uuid[], string_to_array(%b, ',')::uuid[],
        string_to_array(%b, ';'), %b::bytea[], %b::timestamptz[])
        AS e (email_id, tenant_id, ids, accepted, scheduled_at)
), new_messages AS (
    INSERT INTO ingest.messages
        (message_id, email_id, tenant_id, recipient, recipient_type, audit_at)
    SELECT *, now() + make_interval(secs => %b)
    FROM unnest(string_to_array(%b, ',')::uuid[], string_to_array(%b, ',')::uuid[],
        string_to_array(%b, ',')::uuid[], %b::text[], string_to_array(%b, ',')::smallint[])
), new_outbox AS (
    INSERT INTO ingest.outbox (records, messages, due_at)
    VALUES (%b, %b, now() + make_interval(secs => %b)) RETURNING id
)
"""
_KEYS = """
, new_keys AS (
    INSERT INTO ingest.idempotency AS stored
        (tenant_id, test, route, key, fingerprint, response, expires_at)
    SELECT *, now() + make_interval(secs => %b)
    FROM unnest(%b::text[]::uuid[], %b::boolean[], %b::text[], %b::text[], %b::bytea[],
        %b::bytea[])
    ON CONFLICT (tenant_id, test, route, key) DO UPDATE
        SET fingerprint = excluded.fingerprint, response = excluded.response,
            expires_at = excluded.expires_at
        WHERE stored.expires_at < now()
    RETURNING 1
)
"""
# Of accounts with a hard quota only. The rows are sorted too; each is locked until the commit.
_QUOTAS = """
, new_quotas AS (
    INSERT INTO ingest.quota_usage AS stored (account_id, period, messages)
    SELECT * FROM unnest(%b::text[]::uuid[], %b::text[], %b::bigint[])
    ON CONFLICT (account_id, period) DO UPDATE SET messages = stored.messages + excluded.messages
    RETURNING account_id::text, period, messages
)
"""
_COUNT_KEYS = "(SELECT count(*) FROM new_keys)"
_USED = "(SELECT json_agg(json_build_array(account_id, period, messages)) FROM new_quotas)"


@cache
def accept_statement(*, keyed: bool, limited: bool) -> str:
    """keyed: with idempotency keys. limited: with hard quotas."""
    parts = _ACCEPT + (_KEYS if keyed else "") + (_QUOTAS if limited else "")
    keys, used = _COUNT_KEYS if keyed else "0", _USED if limited else "NULL"
    return f"{parts} SELECT id, {keys}, {used} FROM new_outbox"  # noqa: S608 - our own words


FIND_KEYS = """
SELECT k.tenant_id, k.test, k.route, k.key, k.fingerprint, k.response
FROM unnest(%s::uuid[], %s::boolean[], %s::text[], %s::text[])
    AS given (tenant_id, test, route, key)
JOIN ingest.idempotency AS k USING (tenant_id, test, route, key)
WHERE k.expires_at > now()
"""


class ConcurrentRequest(Exception):
    """Another process accepted a request with the same key at the same time."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Identifies an Idempotency-Key. test: the mode of the API key; test and live requests do not
    share keys."""

    tenant_id: str
    test: bool
    route: str
    key: str

    @property
    def order(self) -> tuple[str, bool, str, str]:
        return self.tenant_id, self.test, self.route, self.key


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """fingerprint: SHA-256 of the request. response: the body of the first response."""

    name: IdempotencyKey
    fingerprint: bytes
    response: bytes


class MessageRow(NamedTuple):
    message_id: str
    recipient: str
    recipient_type: int


class EmailRow(NamedTuple):
    """accepted: the serialized MessageAccepted of its first message."""

    email_id: str
    tenant_id: str
    accepted: bytes
    scheduled_at: datetime | None
    messages: Sequence[MessageRow]


class AcceptGroup(NamedTuple):
    """Everything that one group commits. records: encoded lazily. quotas: messages by quota."""

    keys: Sequence[IdempotencyRecord]
    emails: Sequence[EmailRow]
    records: Iterable[Outgoing]
    quotas: Mapping[QuotaKey, int] = MappingProxyType({})


class CommittedWrite(NamedTuple):
    """used: messages of each quota of the group, these ones included."""

    entry: OutboxEntry
    used: Mapping[QuotaKey, int]


class AcceptanceStore:
    """audit_after_s: time from acceptance to the first audit of a message."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        *,
        audit_after_s: float,
        idempotency_retention_s: float,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._audit_after_s = audit_after_s
        self._idempotency_retention_s = idempotency_retention_s

    async def find(
        self, names: Sequence[IdempotencyKey]
    ) -> dict[IdempotencyKey, IdempotencyRecord]:
        """The stored records of these keys."""
        columns = [list(column) for column in zip(*(name.order for name in names), strict=True)]
        async with self._database.transaction() as tx:
            rows = await tx.rows(FIND_KEYS, columns)
        found = [
            IdempotencyRecord(
                IdempotencyKey(str(tenant_id), test, route, key),
                bytes(fingerprint),
                bytes(response),
            )
            for tenant_id, test, route, key, fingerprint, response in rows
        ]
        return {row.name: row for row in found}

    async def write(self, write: AcceptGroup) -> CommittedWrite:
        """Write in one transaction. Raises ConcurrentRequest, and then nothing is written."""
        keys = sorted(write.keys, key=lambda row: row.name.order)
        rows = pack_rows(write.records)
        first, *more = await read_ahead(rows)
        params = self._params(keys, write, first)
        statement = accept_statement(keyed=bool(keys), limited=bool(write.quotas))
        if not keys and first.last:
            entry = OutboxEntry()
            [(number, _, used)] = await self._database.execute_autocommit(statement, params)
            self._outbox.register_row(entry, number, first.records, octets=len(first.data))
            return CommittedWrite(entry, used_of(used))
        async with self._database.transaction() as tx:
            entry = self._outbox.open_entry(tx)
            [(number, inserted, used)] = await tx.rows(statement, params)
            if inserted != len(keys):
                raise ConcurrentRequest
            self._outbox.register_row(entry, number, first.records, octets=len(first.data))
            for row in more:
                await self._outbox.insert_row(tx, entry, row)
            async for row in rows:
                await self._outbox.insert_row(tx, entry, row)
        return CommittedWrite(entry, used_of(used))

    def _params(
        self, keys: Sequence[IdempotencyRecord], write: AcceptGroup, first: OutboxRow
    ) -> list[object]:
        emails = write.emails
        messages = [(email, row) for email in emails for row in email.messages]
        params: list[object] = [
            ",".join([email.email_id for email in emails]),
            ",".join([email.tenant_id for email in emails]),
            ";".join([",".join([row.message_id for row in email.messages]) for email in emails]),
            [email.accepted for email in emails],
            [email.scheduled_at for email in emails],
            self._audit_after_s,
            ",".join([row.message_id for _, row in messages]),
            ",".join([email.email_id for email, _ in messages]),
            ",".join([email.tenant_id for email, _ in messages]),
            [row.recipient for _, row in messages],
            ",".join([str(row.recipient_type) for _, row in messages]),
            *self._outbox.insert_params(first),
        ]
        if keys:
            params += [
                self._idempotency_retention_s,
                [row.name.tenant_id for row in keys],
                [row.name.test for row in keys],
                [row.name.route for row in keys],
                [row.name.key for row in keys],
                [row.fingerprint for row in keys],
                [row.response for row in keys],
            ]
        if write.quotas:
            quotas = sorted(write.quotas)
            params += [
                [key.account_id for key in quotas],
                [key.period for key in quotas],
                [write.quotas[key] for key in quotas],
            ]
        return params


def used_of(rows: Sequence[Sequence[Any]] | None) -> dict[QuotaKey, int]:
    return {QuotaKey(*row[:2]): row[2] for row in rows or ()}


async def read_ahead(rows: AsyncIterator[OutboxRow]) -> list[OutboxRow]:
    """The rows to encode before the transaction starts: all, but only the first if a batch is too
    large for memory."""
    made: list[OutboxRow] = []
    async for row in rows:
        made.append(row)
        if sum([len(one.data) for one in made]) > ENTRY_BYTES_MAX:
            break
    return made
