"""The MTA-STS policies of domains, kept for their max_age while mail needs them, also over restarts
(RFC 8461 §3.2)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from kernel.database import Database, Transaction
from mail.mta_sts import MtaStsPolicy, PolicyError, parse_policy

UNUSED_DAYS = 30  # after which a policy is forgotten: there may be any number of domains

# Its use is noted once a day. What another process notes at the same time is left to it.
LOAD = """
WITH used AS (
    UPDATE delivery.mta_sts_policies SET used_at = now() WHERE domain IN (
        SELECT domain FROM delivery.mta_sts_policies
        WHERE domain = ANY(%(domains)s::text[]) AND used_at < now() - interval '1 day'
        FOR UPDATE SKIP LOCKED)
)
SELECT domain, policy_id, policy, extract(epoch FROM now() - fetched_at)::float8,
    extract(epoch FROM expires_at - now())::float8
FROM delivery.mta_sts_policies WHERE domain = ANY(%(domains)s::text[]) AND expires_at > now()
"""

SAVE = """
INSERT INTO delivery.mta_sts_policies
    (domain, policy_id, policy, fetched_at, expires_at, used_at)
VALUES (%s, %s, %s, now(), now() + make_interval(secs => %s), now())
ON CONFLICT (domain) DO UPDATE SET policy_id = excluded.policy_id, policy = excluded.policy,
    fetched_at = excluded.fetched_at, expires_at = excluded.expires_at,
    used_at = excluded.used_at
"""

EXPIRE = """
DELETE FROM delivery.mta_sts_policies WHERE domain = ANY(ARRAY(
    (SELECT domain FROM delivery.mta_sts_policies WHERE expires_at < now() LIMIT 500)
    UNION ALL
    (SELECT domain FROM delivery.mta_sts_policies
        WHERE used_at < now() - make_interval(days => %s) LIMIT 500)))
"""


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredMtaStsPolicy:
    """A policy within its max_age. policy_id: of the TXT record when it was fetched. age_s: since
    then. left_s: until it expires."""

    policy: MtaStsPolicy
    policy_id: str
    age_s: float
    left_s: float


class MtaStsPolicyStore:
    """Queries of the policies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, domains: Sequence[str]) -> list[StoredMtaStsPolicy | None]:
        """The policies of domains, in their order; None without one that has not expired,
        and for one that is not valid under the present bounds: it is fetched again."""
        rows = await self._database.execute_autocommit(LOAD, {"domains": list(domains)})
        found = {
            domain: StoredMtaStsPolicy(policy, policy_id, age_s, left_s)
            for domain, policy_id, text, age_s, left_s in rows
            if (policy := _parsed(domain, text)) is not None
        }
        return [found.get(domain) for domain in domains]

    async def save(self, domain: str, policy_id: str, policy: MtaStsPolicy) -> None:
        """Keep a policy that was fetched now."""
        text = "\n".join(policy.lines())
        await self._database.execute_autocommit(
            SAVE, (domain, policy_id, text, float(policy.max_age_s))
        )


def _parsed(domain: str, text: str) -> MtaStsPolicy | None:
    try:
        return parse_policy(text.encode())
    except PolicyError as error:
        extra = {"domain": domain, "error": str(error)[:200]}
        logger.warning("delivery.mta_sts.stored_policy_invalid", extra=extra)
        return None


async def expire(tx: Transaction) -> int:
    """Delete up to 500 policies that have expired, and as many that no mail has needed for
    UNUSED_DAYS; returns how many."""
    return await tx.execute(EXPIRE, (UNUSED_DAYS,))
