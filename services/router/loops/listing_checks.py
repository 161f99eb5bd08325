"""Lookups of the egress sources in block lists, by the scheduler's process.

What is found becomes a command to the scheduler, which alone changes states and publishes events.
Before a change counts, the list that says so is tested again: one that has died since its latest
self-test may list nothing, or everything.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

from contracts.router.v1.policies_pb2 import ListingCheck, PolicyCommand
from contracts.router.v1.results_pb2 import Results
from kernel import clock, metrics
from kernel.errors import Fenced
from kernel.lease import Lease
from services.router.clients.blocklists import BlocklistClient
from services.router.domain.egress import EgressSource
from services.router.domain.events import timestamp
from services.router.domain.listing_events import found_listing
from services.router.domain.listings import ListingAnswer
from services.router.domain.source_checks import addresses_of
from services.router.loops.check_schedule import CheckSchedule
from services.router.store import directory, results

CHECKED_MAX = 100  # sources in one run
CONCURRENT_MAX = 10

Checked = tuple[str, str, str]  # id and addresses


class ListingCheckLoop:
    """interval_s: between two checks of a source. A new scheduler checks all of them."""

    def __init__(self, lease: Lease, blocklists: BlocklistClient, *, interval_s: float) -> None:
        self._lease = lease
        self._blocklists = blocklists
        self._interval_s = interval_s
        self._fence: int | None = None
        self._schedule: CheckSchedule[Checked] = CheckSchedule()
        self._listed: dict[tuple[str, str], bool] = {}  # by source and list, as found last

    async def run_once(self) -> None:
        """Check the sources that are due, if this process is the scheduler."""
        if self._fence != self._lease.fence:
            self._fence = self._lease.fence
            self._schedule.clear()
            self._listed = {}
            self._show()
        if self._fence is None:
            return
        await self._blocklists.test_due()
        try:
            async with self._lease.transaction() as tx:
                sources = await directory.load_cell_sources(tx, self._lease.name)
            if due := self._select_due(sources):
                await self._save(await self._check(due))
        except Fenced:
            return

    def _select_due(self, sources: Sequence[EgressSource]) -> list[EgressSource]:
        known = {key_of(one): one for one in sources if addresses_of(one)}
        ids = {one.egress_id for one in sources}
        self._listed = {key: listed for key, listed in self._listed.items() if key[0] in ids}
        return [known[key] for key in self._schedule.select(known, CHECKED_MAX)]

    async def _check(self, due: Sequence[EgressSource]) -> dict[str, list[ListingAnswer]]:
        """What the lists say, by source, without those that have turned out not to work."""
        limit = asyncio.Semaphore(CONCURRENT_MAX)

        async def check(source: EgressSource) -> list[ListingAnswer]:
            async with limit:
                return await self._blocklists.find(addresses_of(source))

        found = await asyncio.gather(*map(check, due))
        for source in due:
            self._schedule.put_off(key_of(source), self._interval_s)
        by_source = {one.egress_id: each for one, each in zip(due, found, strict=True)}
        await self._blocklists.test_again(self._changing(by_source))
        is_usable = self._blocklists.health.is_usable
        return {
            egress_id: [one for one in each if is_usable(one.blocklist)]
            for egress_id, each in by_source.items()
        }

    def _changing(self, found: dict[str, list[ListingAnswer]]) -> set[str]:
        """The lists that say something else than before."""
        return {
            one.blocklist
            for egress_id, each in found.items()
            for one in each
            if self._listed.get((egress_id, one.blocklist)) is not one.listed
        }

    async def _save(self, found: dict[str, list[ListingAnswer]]) -> None:
        checked_at = timestamp(clock.now().timestamp())
        commands = [
            PolicyCommand(
                listing_check=ListingCheck(
                    egress_id=egress_id,
                    checked_at=checked_at,
                    listings=map(found_listing, each),
                )
            )
            for egress_id, each in found.items()
            if each
        ]
        async with self._lease.transaction() as tx:
            await results.append(tx, Results(commands=commands), self._lease.name)
        for egress_id, each in found.items():
            self._listed |= {(egress_id, one.blocklist): one.listed for one in each}
        self._show()

    def _show(self) -> None:
        listed = Counter(name for (_, name), is_listed in self._listed.items() if is_listed)
        for name in self._blocklists.health.blocklists:
            metrics.egress_listed.labels(name, self._lease.name).set(listed[name])


def key_of(source: EgressSource) -> Checked:
    return source.egress_id, source.source_ip, source.source_ipv6
