"""The TLS policies of recipient domains, resolved before an attempt and cached."""

import asyncio
import logging
from dataclasses import dataclass, replace
from math import inf

from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.bounded_dict import BoundedDict
from kernel.cache import Cache
from kernel.group_commit import GroupCommit
from mail.address import domain_of
from mail.mta_sts import Policy
from services.delivery.clients.dane import DaneSource
from services.delivery.clients.mta_sts import (
    TTL_MIN_S,
    FetchFailed,
    LookupFailed,
    PolicySource,
)
from services.delivery.domain.tls_policy import (
    ENFORCED_ONLY,
    NO_POLICY,
    ProvenHosts,
    TlsPolicy,
)
from services.delivery.loops.tls_reports import TlsSessionCounter
from services.delivery.store.mta_sts import PolicyStore, StoredPolicy

DOMAINS_MAX = 10_000  # with a policy, which has up to 64 KB
ABSENT_MAX = 200_000  # domains without one
RETRY_S = 60.0  # after DNS has not answered
REFETCH_S = 300.0  # after a policy could not be fetched (RFC 8461 §3.3)
REFRESH_S = 86_400.0  # a policy is fetched again after this time, even if its id is the same
RECHECK_S = 60.0  # a domain is not rechecked earlier

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _DomainPolicy:
    policy: TlsPolicy
    resolved_at_s: float


class TlsPolicies:
    """Resolves policies. One lookup per domain at a time, however many messages wait for it.

    source: of MTA-STS policies; dane: of DANE's records. None disables either.
    exempt_sender: of TLS reports, which arrive although TLS fails (RFC 8460 §3).
    """

    def __init__(
        self,
        source: PolicySource | None,
        store: PolicyStore,
        *,
        counter: TlsSessionCounter,
        dane: DaneSource | None = None,
        exempt_sender: str = "",
    ) -> None:
        self._source = source
        self._dane = dane
        self._counter = counter
        self._exempt_sender = exempt_sender
        self._store = store
        self._load: GroupCommit[str, StoredPolicy | None] = GroupCommit(store.load)
        self._absent_until_s: BoundedDict[str, float] = BoundedDict(ABSENT_MAX)
        self._cache: Cache[_DomainPolicy] = Cache(self._fetch, entries_max=DOMAINS_MAX)

    def known(self, assignment: DeliveryAssigned) -> TlsPolicy | None:
        """The policy for a message, if it is known; None if it must be resolved.

        Test mail has none. Hosts that an operator has chosen are not those of the domain's policy.
        """
        context = assignment.context
        if context.test or (self._exempt_sender and context.sender == self._exempt_sender):
            return NO_POLICY
        if assignment.static_route or not (self._source or self._dane):
            return ENFORCED_ONLY if context.tls_enforced else NO_POLICY
        domain = domain_of(context.recipient)
        if self._absent_until_s.get(domain, 0.0) > clock.monotonic_s():
            return ENFORCED_ONLY if context.tls_enforced else NO_POLICY
        cached = self._cache.peek(domain)
        if cached is None or not cached.is_fresh:
            return None
        return _for_message(cached.value.policy, assignment)

    async def resolve(self, assignment: DeliveryAssigned) -> TlsPolicy:
        """The policy for a message. Raises Unavailable."""
        found = await self._cache.get(domain_of(assignment.context.recipient))
        return _for_message(found.policy, assignment)

    def recheck(self, assignment: DeliveryAssigned) -> None:
        """Resolve the policy again before the next attempt: the domain may have changed it."""
        domain = domain_of(assignment.context.recipient)
        cached = self._cache.peek(domain)
        if cached and clock.monotonic_s() - cached.value.resolved_at_s > RECHECK_S:
            self._cache.discard(domain)

    async def close(self) -> None:
        await self._cache.close()
        for source in (self._source, self._dane):
            if source is not None:
                await source.close()

    async def _fetch(self, domain: str) -> tuple[_DomainPolicy, float]:
        (mta_sts, ttl_s), (dane, dane_ttl_s) = await asyncio.gather(
            self._mta_sts(domain), self._proven_hosts(domain)
        )
        ttl_s, now_s = min(ttl_s, dane_ttl_s), clock.monotonic_s()
        if mta_sts is None and dane is None:
            self._absent_until_s[domain] = now_s + ttl_s
            return _DomainPolicy(NO_POLICY, now_s), ttl_s
        return _DomainPolicy(TlsPolicy(domain, mta_sts=mta_sts, dane=dane), now_s), ttl_s

    async def _proven_hosts(self, domain: str) -> tuple[ProvenHosts | None, float]:
        return (None, inf) if self._dane is None else await self._dane.look_up(domain)

    async def _mta_sts(self, domain: str) -> tuple[Policy | None, float]:
        if self._source is None:
            return None, inf
        stored = await self._load.submit(domain)
        found, ttl_s = await self._discover(self._source, domain, stored)
        return (None, ttl_s) if found is None else (found.policy, min(ttl_s, found.left_s))

    async def _discover(
        self, source: PolicySource, domain: str, stored: StoredPolicy | None
    ) -> tuple[StoredPolicy | None, float]:
        """The policy in force, and how long to rely on that. A stored policy stays in force until
        it expires, whatever fails or is missing meanwhile (RFC 8461 §5.1)."""
        try:
            record = await source.look_up(domain)
        except LookupFailed as error:
            logger.warning("delivery.mta_sts.lookup_failed", extra={"error": str(error)[:200]})
            return stored, RETRY_S
        if record.policy_id is None:
            return stored, record.ttl_s
        if stored and stored.policy_id == record.policy_id and stored.age_s < REFRESH_S:
            return stored, record.ttl_s
        try:
            policy = await source.fetch(domain)
        except FetchFailed as error:
            extra = {"domain": domain, "error": str(error)[:200], "result": error.result}
            logger.warning("delivery.mta_sts.fetch_failed", extra=extra)
            in_force = TlsPolicy(domain, mta_sts=stored.policy if stored else None)
            self._counter.count_fetch(in_force, error.result, str(error))
            return stored, min(record.ttl_s, REFETCH_S)
        await self._store.save(domain, record.policy_id, policy)
        left_s = max(float(policy.max_age_s), TTL_MIN_S)  # not one fetch for each message
        return StoredPolicy(policy, record.policy_id, 0.0, left_s), record.ttl_s


def _for_message(policy: TlsPolicy, assignment: DeliveryAssigned) -> TlsPolicy:
    if not assignment.context.tls_enforced:
        return policy
    return ENFORCED_ONLY if policy is NO_POLICY else replace(policy, enforced=True)
