"""Counts of sessions under TLS policies, per UTC day and domain, until they are reported."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from hashlib import sha256
from typing import NamedTuple

import msgspec

from kernel import clock
from kernel.database import Database, Transaction
from mail.tls_rpt import AppliedPolicy, FailedSession, PolicyResult

PAGE = 100  # domains
SETTLED_AFTER = timedelta(minutes=10)  # from the end of a day, when all processes have added to it
RETENTION_DAYS = 7  # of counts that are not reported
ROWS_MAX = 1_000  # of one domain and day that are reported
OCTETS_MAX = 4 << 20  # of them: each has a policy of up to 64 KB

ADD = """
INSERT INTO delivery.tls_results (day, domain, digest, policy, failure, sessions)
SELECT * FROM unnest(%s::date[], %s::text[], %b::bytea[], %s::text[], %s::text[], %s::bigint[])
    AS g (day, domain, digest, policy, failure, sessions)
ORDER BY day, domain, digest
ON CONFLICT (day, domain, digest) DO UPDATE
SET sessions = delivery.tls_results.sessions + excluded.sessions
"""

DUE = """
SELECT day, domain FROM delivery.tls_results
WHERE day < %s AND (day, domain) > (%s, %s)
GROUP BY day, domain ORDER BY day, domain LIMIT %s
"""

RESULTS = """
SELECT policy, failure, sessions FROM (
    SELECT *, sum(octet_length(policy) + octet_length(failure)) OVER (ORDER BY digest) AS octets
    FROM (
        SELECT policy, failure, sessions, digest FROM delivery.tls_results
        WHERE day = %s AND domain = %s ORDER BY digest LIMIT %s
    ) AS first_rows
) AS summed WHERE octets <= %s ORDER BY digest
"""

EXPIRE = """
DELETE FROM delivery.tls_results WHERE (day, domain, digest) IN (
    SELECT day, domain, digest FROM delivery.tls_results
    WHERE day < (now() AT TIME ZONE 'UTC')::date - %s ORDER BY day, domain, digest LIMIT 500)
"""

DELETE = "DELETE FROM delivery.tls_results WHERE day = %s AND domain = %s"


class TlsSessionKey(NamedTuple):
    """What sessions are counted by. failure: None for successful ones."""

    day: date
    policy: AppliedPolicy
    failure: FailedSession | None


class DueTlsReport(NamedTuple):
    """A day of a domain that has not been reported."""

    day: date
    domain: str


class TlsReportStore:
    """Queries of the counts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, counts: Mapping[TlsSessionKey, int]) -> None:
        """Add to the counts."""
        policies = [msgspec.json.encode(key.policy) for key in counts]
        failures = [msgspec.json.encode(key.failure) for key in counts]
        pairs = zip(policies, failures, strict=True)
        await self._database.execute_autocommit(
            ADD,
            (
                [key.day for key in counts],
                [key.policy.domain for key in counts],
                [sha256(policy + b"\0" + failure).digest() for policy, failure in pairs],
                [policy.decode() for policy in policies],
                [failure.decode() for failure in failures],
                list(counts.values()),
            ),
        )

    async def due(self, after: DueTlsReport) -> Sequence[DueTlsReport]:
        """Up to PAGE days and domains whose counts are complete, in order."""
        before = (clock.now() - SETTLED_AFTER).date()
        rows = await self._database.execute_autocommit(DUE, (before, *after, PAGE))
        return [DueTlsReport(*row) for row in rows]

    async def results(self, report: DueTlsReport) -> list[PolicyResult]:
        """The results of a day and domain, by policy."""
        found: dict[AppliedPolicy, tuple[int, dict[FailedSession, int]]] = {}
        rows = await self._database.execute_autocommit(RESULTS, (*report, ROWS_MAX, OCTETS_MAX))
        for policy_text, failure_text, sessions in rows:
            policy = msgspec.json.decode(policy_text, type=AppliedPolicy)
            failure = msgspec.json.decode(failure_text, type=FailedSession | None)
            successes, failures = found.get(policy, (0, {}))
            if failure is None:
                found[policy] = (successes + sessions, failures)
            else:
                found[policy] = (successes, {**failures, failure: sessions})
        return [PolicyResult(policy, *counted) for policy, counted in found.items()]


async def expire(tx: Transaction) -> int:
    """Delete up to 500 counts that nobody has reported; returns how many."""
    return await tx.execute(EXPIRE, (RETENTION_DAYS,))


async def delete(tx: Transaction, report: DueTlsReport) -> None:
    """Forget a day of a domain."""
    await tx.execute(DELETE, report)
