"""The TLS policies of recipient domains, resolved before an attempt and cached."""

import asyncio
import logging
from dataclasses import dataclass, replace
from functools import partial
from math import inf

from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.bounded_dict import BoundedDict
from kernel.cache import Cache
from kernel.group_commit import GroupCommit
from mail.address import domain_of
from mail.mta_sts import MtaStsPolicy
from services.delivery.clients.dane import DaneClient
from services.delivery.clients.mta_sts import (
    TTL_MIN_S,
    MtaStsClient,
    PolicyFetchFailed,
    RecordLookupFailed,
)
from services.delivery.domain.tls_policy import (
    ENFORCED_ONLY,
    NO_POLICY,
    DaneHosts,
    TlsPolicy,
)
from services.delivery.loops.tls_reports import TlsSessionCounter
from services.delivery.store.mta_sts import MtaStsPolicyStore, StoredMtaStsPolicy

DOMAINS_MAX = 100_000  # with a policy
OCTETS_MAX = 64 * 1024 * 1024  # of them: one has up to 64 KB, and up to as much for each host
ABSENT_MAX = 200_000  # domains without one
RETRY_S = 60.0  # after DNS has not answered
REFETCH_S = 300.0  # after a policy could not be fetched (RFC 8461 §3.3)
REFRESH_S = 86_400.0  # a policy is fetched again after this time, even if its id is the same
RECHECK_S = 60.0  # a domain is not rechecked earlier

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _DomainPolicy:
    """refused: whether it has refused a host, so that a newer one is waited for."""

    policy: TlsPolicy
    resolved_at_s: float
    refused: bool = False


@dataclass(frozen=True, slots=True)
class _AnnouncedPolicy:
    """A policy that a domain announces by its id, and the one in force until it is fetched."""

    source: MtaStsClient
    policy_id: str
    stored: StoredMtaStsPolicy | None


@dataclass(frozen=True, slots=True)
class _PolicyInForce:
    """The MTA-STS policy of a domain, and how long to rely on it. next: to fetch meanwhile."""

    policy: MtaStsPolicy | None = None
    ttl_s: float = inf
    next: _AnnouncedPolicy | None = None


class TlsPolicyResolver:
    """Resolves policies. One lookup per domain at a time, however many messages wait for it. A
    stored policy is in force at once while another one is fetched.

    source: of MTA-STS policies; dane: of DANE's records. None disables either.
    exempt_sender: of TLS reports, which arrive although TLS fails (RFC 8460 §3).
    """

    def __init__(
        self,
        source: MtaStsClient | None,
        store: MtaStsPolicyStore,
        *,
        counter: TlsSessionCounter,
        dane: DaneClient | None = None,
        exempt_sender: str = "",
    ) -> None:
        self._source = source
        self._dane = dane
        self._counter = counter
        self._exempt_sender = exempt_sender
        self._store = store
        self._load: GroupCommit[str, StoredMtaStsPolicy | None] = GroupCommit(store.load)
        self._absent_until_s: BoundedDict[str, float] = BoundedDict(ABSENT_MAX)
        self._cache: Cache[_DomainPolicy] = Cache(
            self._fetch,
            entries_max=DOMAINS_MAX,
            octets_max=OCTETS_MAX,
            octets_of=lambda one: one.policy.octets,
        )
        # One fetch per domain at a time; what is fetched is kept by the other cache.
        self._fetches: Cache[StoredMtaStsPolicy | None] = Cache(self._fetch_policy, entries_max=1)

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
        """Resolve the policy again before the next attempt, which waits for one that is fetched:
        the domain may have changed it."""
        domain = domain_of(assignment.context.recipient)
        if (cached := self._cache.peek(domain)) is None:
            return
        is_due = clock.monotonic_s() - cached.value.resolved_at_s > RECHECK_S
        if is_due or self._fetches.is_fetching(domain):
            self._cache.put(domain, replace(cached.value, refused=True), 0.0)

    async def close(self) -> None:
        await self._cache.close()
        await self._fetches.close()
        for source in (self._source, self._dane):
            if source is not None:
                await source.close()

    async def _fetch(self, domain: str) -> tuple[_DomainPolicy, float]:
        mta_sts, (dane, dane_ttl_s) = await asyncio.gather(
            self._mta_sts(domain), self._proven_hosts(domain)
        )
        ttl_s, now_s = min(mta_sts.ttl_s, dane_ttl_s), clock.monotonic_s()
        if mta_sts.policy is None and dane is None:
            self._absent_until_s[domain] = now_s + ttl_s
            return _DomainPolicy(NO_POLICY, now_s), 0.0  # it must push no policy out of the cache
        found = _DomainPolicy(TlsPolicy(domain, mta_sts=mta_sts.policy, dane=dane), now_s)
        if mta_sts.next is not None:
            # It ends after the outdated policy is cached, because nothing is awaited until then.
            fetch = self._fetches.refresh(domain, mta_sts.next)
            fetch.add_done_callback(partial(self._on_fetched, found))
        return found, ttl_s

    async def _proven_hosts(self, domain: str) -> tuple[DaneHosts | None, float]:
        return (None, inf) if self._dane is None else await self._dane.look_up(domain)

    async def _mta_sts(self, domain: str) -> _PolicyInForce:
        if self._source is None:
            return _PolicyInForce()
        stored = await self._load.submit(domain)
        found = await self._discover(self._source, domain, stored)
        left_s = inf if stored is None or found.policy is not stored.policy else stored.left_s
        return replace(found, ttl_s=min(found.ttl_s, left_s))

    async def _discover(
        self, source: MtaStsClient, domain: str, stored: StoredMtaStsPolicy | None
    ) -> _PolicyInForce:
        """A stored policy stays in force until it expires, whatever fails or is missing meanwhile
        (RFC 8461 §5.1)."""
        policy = stored.policy if stored else None
        try:
            record = await source.look_up(domain)
        except RecordLookupFailed as error:
            logger.warning("delivery.mta_sts.lookup_failed", extra={"error": str(error)[:200]})
            return _PolicyInForce(policy, RETRY_S)
        if record.policy_id is None:
            return _PolicyInForce(policy, record.ttl_s)
        if stored and stored.policy_id == record.policy_id and stored.age_s < REFRESH_S:
            return _PolicyInForce(policy, record.ttl_s)
        announced = _AnnouncedPolicy(source, record.policy_id, stored)
        return await self._replace(domain, announced, record.ttl_s)

    async def _replace(
        self, domain: str, announced: _AnnouncedPolicy, ttl_s: float
    ) -> _PolicyInForce:
        """What is in force while a policy that the domain announces is fetched, or after that."""
        policy = announced.stored.policy if announced.stored else None
        soon_s = min(ttl_s, REFETCH_S)
        if policy and not self._has_refused(domain):
            if not announced.source.has_slot(domain):
                return _PolicyInForce(policy, min(soon_s, RETRY_S))
            return _PolicyInForce(policy, soon_s, announced)
        fetched = await asyncio.shield(self._fetches.refresh(domain, announced))
        if fetched is None:
            return _PolicyInForce(policy, soon_s)
        return _PolicyInForce(fetched.policy, min(ttl_s, fetched.left_s))

    def _has_refused(self, domain: str) -> bool:
        cached = self._cache.peek(domain)
        return cached is not None and cached.value.refused

    async def _fetch_policy(
        self, domain: str, announced: _AnnouncedPolicy
    ) -> tuple[StoredMtaStsPolicy | None, float]:
        """None if it cannot be had."""
        try:
            policy = await announced.source.fetch(domain)
        except PolicyFetchFailed as error:
            extra = {"domain": domain, "error": str(error)[:200], "result": error.result}
            logger.warning("delivery.mta_sts.fetch_failed", extra=extra)
            stored = announced.stored
            in_force = TlsPolicy(domain, mta_sts=stored.policy if stored else None)
            self._counter.count_fetch(in_force, error.result, str(error))
            return None, 0.0
        await self._store.save(domain, announced.policy_id, policy)
        left_s = max(float(policy.max_age_s), TTL_MIN_S)  # not one fetch for each message
        return StoredMtaStsPolicy(policy, announced.policy_id, 0.0, left_s), 0.0

    def _on_fetched(
        self, outdated: _DomainPolicy, fetch: "asyncio.Task[StoredMtaStsPolicy | None]"
    ) -> None:
        """Put a policy in force in place of the one that it replaces, until the same time."""
        if fetch.cancelled():
            return
        domain = outdated.policy.domain
        if (error := fetch.exception()) is not None:
            logger.error("delivery.mta_sts.refetch_failed", exc_info=error)
            return
        fetched, cached = fetch.result(), self._cache.peek(domain)
        if fetched is None or cached is None or cached.value is not outdated:
            return
        now_s = clock.monotonic_s()
        policy = replace(outdated.policy, mta_sts=fetched.policy)
        ttl_s = min(cached.expires_at_s - now_s, fetched.left_s)
        self._cache.put(domain, _DomainPolicy(policy, now_s), ttl_s)


def _for_message(policy: TlsPolicy, assignment: DeliveryAssigned) -> TlsPolicy:
    if not assignment.context.tls_enforced:
        return policy
    return ENFORCED_ONLY if policy is NO_POLICY else replace(policy, enforced=True)
