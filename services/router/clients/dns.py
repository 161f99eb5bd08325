"""Where a domain's mail goes, asked of DNS and remembered: RFC 5321 §5.1, RFC 7505."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeAlias

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from kernel import clock
from kernel.cache import Cache
from mail.mx import Mx, NullMxError, before_self, order
from services.router.domain.routes import (
    Answer,
    LookupFailed,
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
STALE_S = 600.0  # an old route serves a little longer while it is asked again
CACHED_MAX = 200_000
EXCHANGERS_MAX = 10  # more are never reached in an attempt

NULL_MX = NoRoute("null_mx", "5.1.10", "the domain takes no mail (null MX)")
NO_DOMAIN = NoRoute("no_domain", "5.1.2", "the domain does not exist")
NO_MX = NoRoute("no_mx", "5.1.2", "the domain has neither MX nor address records")
LOOP = NoRoute("mail_loop", "5.4.6", "the best MX of the domain is this machine")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """A route serves until stale_s while it is asked about again."""

    answer: Answer
    stale_s: float
    failures: int = 0


class RouteResolver:
    """RouteResolver by domain: static ones, else those of DNS with their TTL, negative ones too.

    One question per domain at a time, however many wait for it. on_answer is called when one has
    come. own_names: of hosts that are us, and those behind it, would be a loop.
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
        self._cache: Cache[CachedAnswer] = Cache(self._fetch, most=CACHED_MAX)

    def cached_route(self, domain: str) -> Route | None:
        """The route as far as it is known; one that grows old is asked for in the background."""
        if route := self._static.get(domain):
            return route
        cached = self._cache.peek(domain)
        if cached is None or not isinstance(cached.value.answer, Route):
            return None
        if not cached.fresh:
            self._start_lookup(domain)
        return cached.value.answer if clock.monotonic_s() < cached.value.stale_s else None

    def cached_site(self, domain: str) -> str | None:
        route = self.cached_route(domain)
        return None if route is None else route.site

    def lookup(self, domain: str, start: bool = True) -> Answer | None:
        """What DNS says; None while it is being asked, or may not be."""
        if route := self._static.get(domain):
            return route
        cached = self._cache.peek(domain)
        if cached is not None and cached.fresh:
            return cached.value.answer
        if start:
            self._start_lookup(domain)
        return None

    async def close(self) -> None:
        await self._cache.close()

    def _start_lookup(self, domain: str) -> None:
        """Unless enough are asked about: whoever waits for it comes again with the next answer."""
        if self._cache.asking < self._lookups_max:
            self._cache.ask(domain)

    async def _fetch(self, domain: str) -> tuple[CachedAnswer, float]:
        try:
            answer, ttl_s = await self._resolve(domain)
        except Exception as error:  # a strange answer must not leave its mail without one
            logger.warning("router.dns", extra={"domain": domain, "error": repr(error)})
            answer, ttl_s = LookupFailed(RETRY_MIN_S, repr(error)[:200]), RETRY_MIN_S
        asyncio.get_running_loop().call_soon(self._on_answer)  # when it is remembered
        now_s = clock.monotonic_s()
        if isinstance(answer, LookupFailed):
            return self._back_off(domain, answer, now_s=now_s)
        return CachedAnswer(answer, now_s + ttl_s + STALE_S), ttl_s

    def _back_off(
        self, domain: str, answer: LookupFailed, *, now_s: float
    ) -> tuple[CachedAnswer, float]:
        """A failure waits longer each time; it does not push out a route that still serves."""
        cached = self._cache.peek(domain)
        before = cached.value if cached else CachedAnswer(answer, now_s)
        failures = before.failures + 1
        ttl_s = min(RETRY_MIN_S * 2 ** (failures - 1), RETRY_MAX_S)
        if isinstance(before.answer, Route) and now_s < before.stale_s:
            return CachedAnswer(before.answer, before.stale_s, failures), ttl_s
        return CachedAnswer(LookupFailed(ttl_s, answer.text), now_s, failures), ttl_s

    async def _resolve(self, domain: str) -> tuple[Answer, float]:
        """The answer, and for how many seconds it holds."""
        try:
            found = await self._resolver.resolve(domain, "MX", raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return NO_DOMAIN, NEGATIVE_TTL_S
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            return LookupFailed(RETRY_MIN_S, str(error)[:200]), RETRY_MIN_S
        if found.rrset is None:
            return await self._implicit(domain)
        ttl_s = min(max(float(found.rrset.ttl), TTL_MIN_S), TTL_MAX_S)
        records = [Mx(mx.preference, mx.exchange.to_text().rstrip(".")) for mx in found.rrset]
        return self._route(records), ttl_s

    def _route(self, records: list[Mx]) -> Route | NoRoute:
        if not any(mx.host for mx in records):  # RFC 7505 §3: one, but it means the same twice
            return NULL_MX
        try:
            ordered = order(records, self._shuffle)
        except NullMxError:
            return NULL_MX
        ordered = before_self(ordered, self._own_names())
        if not ordered:
            return LOOP if len(records) else NO_MX
        site = site_name([record.host for record in records if record.host])
        return Route(
            site, tuple(MxHost(mx.host, mx.preference, 0) for mx in ordered[:EXCHANGERS_MAX])
        )

    async def _implicit(self, domain: str) -> tuple[Answer, float]:
        """No MX: the domain itself, where it has an address (RFC 5321 §5.1)."""
        for kind in ("A", "AAAA"):
            try:
                found = await self._resolver.resolve(domain, kind, raise_on_no_answer=False)
            except dns.resolver.NXDOMAIN:
                return NO_DOMAIN, NEGATIVE_TTL_S
            except (dns.exception.DNSException, OSError) as error:
                return LookupFailed(RETRY_MIN_S, str(error)[:200]), RETRY_MIN_S
            if found.rrset is not None:
                ttl_s = min(max(float(found.rrset.ttl), TTL_MIN_S), TTL_MAX_S)
                return Route(site_name([domain]), (MxHost(domain, 0, 0),)), ttl_s
        return NO_MX, NEGATIVE_TTL_S


def system_resolver(
    nameservers: tuple[str, ...], *, timeout_s: float
) -> dns.asyncresolver.Resolver:
    """The machine's resolver, or the given `ip` or `ip:port` ones."""
    try:
        resolver = dns.asyncresolver.Resolver(configure=not nameservers)
    except dns.resolver.NoResolverConfiguration:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
    if nameservers:
        resolver.nameservers = [name_server(text) for text in nameservers]
    resolver.lifetime = timeout_s
    return resolver


def name_server(text: str) -> dns.nameserver.Nameserver:
    """`ip`, `ip:port` or `[ip]:port`. Raises ValueError."""
    host, _, port = text.rpartition(":") if "]:" in text or text.count(":") == 1 else (text, "", "")
    return dns.nameserver.Do53Nameserver(str(ip_address(host.strip("[]"))), int(port or 53))
