"""Queries to block lists (RFC 5782): which of them have a name, and which of them work."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import dns.asyncresolver

from kernel import clock, metrics
from kernel.resolver import run_queries
from mail.dnsbl import Answer, Blocklist, ListFailure, look_up, self_test
from mail.dnsbl_health import ListHealth
from services.ingest.domain.domain_listings import ListingAnswer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BlocklistClient:
    """A list whose self-test fails, or that answers what means nothing, is out of use: it neither
    adds nor ends listings."""

    resolver: dns.asyncresolver.Resolver
    health: ListHealth

    async def test_due(self) -> None:
        await self._test(self.health.due(clock.monotonic_s()))

    async def test_again(self, names: Collection[str]) -> None:
        """Before something changes by what these lists have answered."""
        await self._test([one for one in self.health.usable() if one.name in names])

    async def find(self, name: str) -> list[ListingAnswer]:
        """What the lists in use say about a name."""
        lists = [one for one in self.health.usable() if one.has_kind_of(name)]
        answers = await asyncio.gather(*(self._look_up(one, name) for one in lists))
        return [
            ListingAnswer(one.name, name, answer.listed, *answer[1:3], answer.text)
            for one, answer in zip(lists, answers, strict=True)
            if answer.listed is not None
        ]

    async def _look_up(self, blocklist: Blocklist, name: str) -> Answer:
        answer = await run_queries(self.resolver, look_up(blocklist, name, with_text=True))
        result = answer.failure or ("listed" if answer.listed else "unlisted")
        metrics.blocklist_queries.labels(blocklist.name, result).inc()
        if answer.failure not in (None, ListFailure.UNANSWERED):
            self._record(blocklist, answer.failure)
        return answer

    async def _test(self, blocklists: Sequence[Blocklist]) -> None:
        queries = [run_queries(self.resolver, self_test(one)) for one in blocklists]
        for one, failure in zip(blocklists, await asyncio.gather(*queries), strict=True):
            self._record(one, failure)

    def _record(self, blocklist: Blocklist, failure: ListFailure | None) -> None:
        metrics.blocklist_usable.labels(blocklist.name).set(0 if failure else 1)
        if self.health.record(blocklist.name, failure, clock.monotonic_s()):
            level = logging.WARNING if failure else logging.INFO
            extra = {"blocklist": blocklist.name, "failure": failure}
            logger.log(level, "blocklist.unusable" if failure else "blocklist.usable", extra=extra)
