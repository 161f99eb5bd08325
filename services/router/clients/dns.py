"""Routes of domains from DNS, with a cache: RFC 5321 §5.1, RFC 7505."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from kernel import clock
from kernel.cache import Cache
from kernel.resolver import EmptyAnswer
from mail.mx import Mx, NullMxError, order_by_preference, preferred_to_own
from services.router.domain.routes import (
    Answer,
    LookupFailure,
    MxHost,
    NoRoute,
    Route,
    StaticRoutes,
    site_name,
)

Resolver: TypeAlias = dns.asyncresolver.Resolver

TTL_MIN_S, TTL_MAX_S = 30.0, 24 * 3600.0
NEGATIVE_TTL_S = 300.0
RETRY_MIN_S, RETRY_MAX_S = 5.0, 300.0
STALE_S = 600.0  # an expired route is still used while it is looked up again
CACHED_MAX = 200_000
MX_HOSTS_MAX = 10  # an attempt never reaches more

NULL_MX = NoRoute("null_mx", "5.1.10", "the domain accepts no mail (null MX)")
NO_DOMAIN = NoRoute("no_domain", "5.1.2", "the domain does not exist")
NO_MX = NoRoute("no_mx", "5.1.2", "the domain has neither MX nor address records")
MAIL_LOOP = NoRoute("mail_loop", "5.4.6", "the best MX of the domain is this engine")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachedRoute:
    """stale_s: an expired route is used until then while it is looked up again. failures: in a row,
    the last of them at failed_s."""

    answer: Answer
    stale_s: float
    failures: int = 0
    failed_s: float = 0.0


class RouteResolver:
    """Resolves the route of a domain: a static route, or one from DNS, cached for its TTL. Negative
    answers are cached too.

    There is one lookup per domain at a time, however many messages wait for it. on_answer is called
    after each lookup. own_names: MX hosts of this engine; they and less preferred ones would loop.
    """

    def __init__(
        self,
        resolver: dns.asyncresolver.Resolver,
        static: StaticRoutes,
        *,
        own_names: Callable[[], frozenset[str]],
        on_answer: Callable[[], None],
        lookups_max: int = 100,
        shuffle: Callable[[list[Mx]], None] = random.shuffle,
    ) -> None:
        self._resolver = resolver
        self._static = static
        self._own_names = own_names
        self._on_answer = on_answer
        self._lookups_max = lookups_max
        self._shuffle = shuffle
        self._cache: Cache[CachedRoute] = Cache(self._fetch, entries_max=CACHED_MAX)
        self._answered_s = 0.0  # when DNS has last answered, for any domain

    def cached_route(self, domain: str) -> Route | None:
        """The cached route, or None. An expired one is looked up again in the background."""
        if route := self._static.get(domain):
            return route
        cached = self._cache.peek(domain)
        if cached is None or not isinstance(cached.value.answer, Route):
            return None
        if not cached.is_fresh:
            self._start_lookup(domain)
        return cached.value.answer if clock.monotonic_s() < cached.value.stale_s else None

    def cached_site(self, domain: str) -> str | None:
        route = self.cached_route(domain)
        return None if route is None else route.site

    def lookup(self, domain: str, start: bool = True) -> Answer | None:
        """The answer of DNS; None until there is one. start: a lookup may start."""
        if route := self._static.get(domain):
            return route
        cached = self._cache.peek(domain)
        if cached is not None and cached.is_fresh:
            return cached.value.answer
        if start:
            self._start_lookup(domain)
        return None

    async def close(self) -> None:
        await self._cache.close()

    def _start_lookup(self, domain: str) -> None:
        """Start a lookup unless lookups_max are in progress; callers try again after any answer."""
        if self._cache.fetches_in_progress < self._lookups_max:
            self._cache.refresh(domain)

    async def _fetch(self, domain: str) -> tuple[CachedRoute, float]:
        try:
            answer, ttl_s = await self._resolve(domain)
        except Exception as error:  # mail must be retried after an answer that breaks the parser
            logger.warning("router.dns.failed", extra={"domain": domain, "error": repr(error)})
            answer, ttl_s = LookupFailure(RETRY_MIN_S, repr(error)[:200]), RETRY_MIN_S
        asyncio.get_running_loop().call_soon(self._on_answer)  # after the answer is cached
        now_s = clock.monotonic_s()
        if isinstance(answer, LookupFailure):
            return self._back_off(domain, answer, now_s=now_s)
        self._answered_s = now_s
        return CachedRoute(answer, now_s + ttl_s + STALE_S), ttl_s

    def _back_off(
        self, domain: str, answer: LookupFailure, *, now_s: float
    ) -> tuple[CachedRoute, float]:
        """Double the delay after each failure, unless DNS has answered for no domain since: then it
        is away, and all domains are tried again soon. A failure does not replace a usable route."""
        cached = self._cache.peek(domain)
        previous = cached.value if cached else CachedRoute(answer, now_s)
        failures = max(1, previous.failures + (self._answered_s >= previous.failed_s))
        ttl_s = min(RETRY_MIN_S * 2 ** (failures - 1), RETRY_MAX_S)
        if isinstance(previous.answer, Route) and now_s < previous.stale_s:
            return CachedRoute(previous.answer, previous.stale_s, failures, now_s), ttl_s
        return CachedRoute(LookupFailure(ttl_s, answer.text), now_s, failures, now_s), ttl_s

    async def _resolve(self, domain: str) -> tuple[Answer, float]:
        """The answer and its TTL in seconds."""
        try:
            found = await self._resolver.resolve(domain, "MX", raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return NO_DOMAIN, NEGATIVE_TTL_S
        except EmptyAnswer as error:  # some servers respond so to all that they do not expect
            return await self._resolve_implicit_mx(domain, otherwise=failed(error))
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            return failed(error), RETRY_MIN_S
        if found.rrset is None:
            return await self._resolve_implicit_mx(domain)
        ttl_s = min(max(float(found.rrset.ttl), TTL_MIN_S), TTL_MAX_S)
        records = [Mx(mx.preference, mx.exchange.to_text().rstrip(".")) for mx in found.rrset]
        return self._route_from_mx(records), ttl_s

    def _route_from_mx(self, records: list[Mx]) -> Route | NoRoute:
        if not any(mx.host for mx in records):  # RFC 7505 §3 has one record; several mean the same
            return NULL_MX
        try:
            ordered = order_by_preference(records, self._shuffle)
        except NullMxError:
            return NULL_MX
        ordered = preferred_to_own(ordered, self._own_names())
        if not ordered:
            return MAIL_LOOP if len(records) else NO_MX
        site = site_name([record.host for record in records if record.host])
        return Route(
            site, tuple(MxHost(mx.host, mx.preference, 0) for mx in ordered[:MX_HOSTS_MAX])
        )

    async def _resolve_implicit_mx(
        self, domain: str, *, otherwise: NoRoute | LookupFailure = NO_MX
    ) -> tuple[Answer, float]:
        """Without MX records, the domain itself is the MX host if it has an address (RFC 5321
        §5.1). otherwise: what is known if it has none."""
        for kind in ("A", "AAAA"):
            try:
                found = await self._resolver.resolve(domain, kind, raise_on_no_answer=False)
            except dns.resolver.NXDOMAIN:
                return NO_DOMAIN, NEGATIVE_TTL_S
            except EmptyAnswer as error:
                otherwise = failed(error)
                continue
            except (dns.exception.DNSException, OSError) as error:
                return failed(error), RETRY_MIN_S
            if found.rrset is not None:
                ttl_s = min(max(float(found.rrset.ttl), TTL_MIN_S), TTL_MAX_S)
                return Route(site_name([domain]), (MxHost(domain, 0, 0),)), ttl_s
        return otherwise, NEGATIVE_TTL_S


def failed(error: Exception) -> LookupFailure:
    return LookupFailure(RETRY_MIN_S, str(error)[:200])
