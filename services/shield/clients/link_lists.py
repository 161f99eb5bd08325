"""Queries to block lists about the hosts of mail: RFC 5782, cached, and never for long."""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import dns.asyncresolver

from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from kernel import clock, metrics
from kernel.cache import Cache
from kernel.child import ChildRaised
from kernel.resolver import run_queries
from mail.dnsbl import Answer, Blocklist, ListFailure, look_up, self_test
from mail.dnsbl_health import ListHealth
from mail.listed_name import listed_name
from services.shield.domain.link_listings import LinkListing, Listings, add_listings, names_of

CACHED_MAX = 100_000  # names
LOOKUPS_MAX = 200  # names at the same time; mail with more passes without them
NAME_CHARS = 120  # longer ones leave no room for a zone
TTL_MIN_S, TTL_MAX_S = 60.0, 86_400.0
UNLISTED_TTL_S = 300.0
UNANSWERED_MAX = 5  # lookups of a list, one after another; then it is out of use
TEST_AGE_S = 10.0  # of the self-test of a list that says that something is listed

logger = logging.getLogger(__name__)


class LinkBlockLists:
    """wait_s: for all lookups of a batch that are not in the cache; they go on after it, so that
    the next mail with the same hosts finds them."""

    def __init__(
        self, resolver: dns.asyncresolver.Resolver, health: ListHealth, *, wait_s: float
    ) -> None:
        self._resolver = resolver
        self._health = health
        self._wait_s = wait_s
        self._cache: Cache[tuple[LinkListing, ...]] = Cache(self._fetch, entries_max=CACHED_MAX)
        self._unanswered: Counter[str] = Counter()

    async def weigh(
        self, screenings: Iterable[ScoreResponse | ChildRaised], *, with_reasons: bool = False
    ) -> None:
        """Add what the lists say to the scores of a batch, with one wait for all of it."""
        scored = [one for one in screenings if isinstance(one, ScoreResponse)]
        listings = await self._listings({host for one in scored for host in names_of(one)})
        for one in scored:
            add_listings(one, listings, with_reasons=with_reasons)
            one.ClearField("link_hosts")
            one.ClearField("sender_domain")

    async def test_due(self) -> None:
        await self._test(self._health.due(clock.monotonic_s()))

    async def close(self) -> None:
        await self._cache.close()

    async def _listings(self, hosts: Collection[str]) -> Listings:
        names = {host: name for host in hosts if len(name := listed_name(host)) <= NAME_CHARS}
        unknown = sorted({name for name in names.values() if self._known(name) is None})
        lookups = [
            self._cache.refresh(name)
            for name in unknown
            if self._cache.fetches_in_progress < LOOKUPS_MAX or self._cache.is_fetching(name)
        ]
        if lookups:
            await asyncio.wait(lookups, timeout=self._wait_s)
        return {host: self._known(name) or () for host, name in names.items()}

    def _known(self, name: str) -> tuple[LinkListing, ...] | None:
        entry = self._cache.peek(name)
        return entry.value if entry and entry.is_fresh else None

    async def _fetch(self, name: str) -> tuple[tuple[LinkListing, ...], float]:
        lists = [one for one in self._health.usable() if one.has_kind_of(name)]
        answers = await asyncio.gather(*(self._look_up(one, name) for one in lists))
        pairs = list(zip(lists, answers, strict=True))
        await self._test_again([one for one, answer in pairs if answer.listed])
        listings = tuple(
            LinkListing(name, one.name, answer.meaning, answer.weight, one.delist)
            for one, answer in pairs
            if answer.listed and self._health.is_usable(one.name)
        )
        return listings, min(map(ttl_of, answers), default=TTL_MIN_S)

    async def _look_up(self, blocklist: Blocklist, name: str) -> Answer:
        answer = await run_queries(self._resolver, look_up(blocklist, name))
        result = answer.failure or ("listed" if answer.listed else "unlisted")
        metrics.blocklist_queries.labels(blocklist.name, result).inc()
        self._unanswered[blocklist.name] += 1
        if answer.failure is not ListFailure.UNANSWERED:
            self._unanswered[blocklist.name] = 0
        if answer.failure and (result != "unanswered" or self._is_silent(blocklist)):
            self._record(blocklist, answer.failure)
        return answer

    def _is_silent(self, blocklist: Blocklist) -> bool:
        return self._unanswered[blocklist.name] >= UNANSWERED_MAX

    async def _test_again(self, blocklists: Sequence[Blocklist]) -> None:
        """A list that has died since its latest self-test may list everything."""
        older = self._health.older_than(TEST_AGE_S, clock.monotonic_s())
        await self._test([one for one in blocklists if one in older])

    async def _test(self, blocklists: Sequence[Blocklist]) -> None:
        queries = [run_queries(self._resolver, self_test(one)) for one in blocklists]
        for one, failure in zip(blocklists, await asyncio.gather(*queries), strict=True):
            self._record(one, failure)

    def _record(self, blocklist: Blocklist, failure: ListFailure | None) -> None:
        metrics.blocklist_usable.labels(blocklist.name).set(0 if failure else 1)
        if self._health.record(blocklist.name, failure, clock.monotonic_s()):
            level = logging.WARNING if failure else logging.INFO
            extra = {"blocklist": blocklist.name, "failure": failure}
            logger.log(level, "blocklist.unusable" if failure else "blocklist.usable", extra=extra)


def ttl_of(answer: Answer) -> float:
    if answer.failure:
        return TTL_MIN_S
    return min(max(answer.ttl_s, TTL_MIN_S), TTL_MAX_S) if answer.listed else UNLISTED_TTL_S
