"""Queries to block lists (RFC 5782): which of them list an address, and which of them work."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from kernel import clock, metrics
from kernel.resolver import run_queries
from mail.dnsbl import Answer, Blocklist, ListFailure, look_up, self_test
from mail.dnsbl_health import ListHealth
from services.router.clients.dns import Resolver
from services.router.domain.listings import ListingAnswer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BlocklistClient:
    """A list whose self-test fails, or that answers what means nothing, is out of use: it neither
    adds nor ends listings."""

    resolver: Resolver
    health: ListHealth

    async def test_due(self) -> None:
        await self._test(self.health.due(clock.monotonic_s()))

    async def test_again(self, names: Collection[str]) -> None:
        """Before something changes by what these lists have answered."""
        await self._test([one for one in self.health.usable() if one.name in names])

    async def find(self, addresses: Sequence[str]) -> list[ListingAnswer]:
        """What the lists in use say about the addresses of a source."""
        lists = self.health.usable()
        found = await asyncio.gather(*(self._find(one, addresses) for one in lists))
        return [one for one in found if one]

    async def _test(self, blocklists: Iterable[Blocklist]) -> None:
        chosen = list(blocklists)
        queries = [run_queries(self.resolver, self_test(one)) for one in chosen]
        for one, failure in zip(chosen, await asyncio.gather(*queries), strict=True):
            self._record(one, failure)

    def _record(self, blocklist: Blocklist, failure: ListFailure | None) -> None:
        metrics.blocklist_usable.labels(blocklist.name).set(0 if failure else 1)
        if self.health.record(blocklist.name, failure, clock.monotonic_s()):
            level = logging.WARNING if failure else logging.INFO
            extra = {"blocklist": blocklist.name, "failure": failure}
            logger.log(level, "blocklist.unusable" if failure else "blocklist.usable", extra=extra)

    async def _find(self, blocklist: Blocklist, addresses: Sequence[str]) -> ListingAnswer | None:
        """A list lists a source if it lists one of its addresses, and not if it lists none. None:
        it has not answered for all of them."""
        queried = filter(blocklist.has_kind_of, addresses)
        found = [(one, await self._look_up(blocklist, one)) for one in queried]
        listed = [pair for pair in found if pair[1].listed]
        if listed:
            address, answer = max(listed, key=lambda pair: pair[1].weight)
            return ListingAnswer(blocklist.name, True, address, *answer[1:4], answer.text)
        if any(answer.listed is None for _, answer in found):
            return None
        return ListingAnswer(blocklist.name, False)

    async def _look_up(self, blocklist: Blocklist, address: str) -> Answer:
        answer = await run_queries(self.resolver, look_up(blocklist, address, with_text=True))
        metrics.blocklist_queries.labels(blocklist.name, result_of(answer)).inc()
        if answer.failure not in (None, ListFailure.UNANSWERED):
            self._record(blocklist, answer.failure)
        return answer


def result_of(answer: Answer) -> str:
    return answer.failure or ("listed" if answer.listed else "unlisted")
