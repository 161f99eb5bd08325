"""Lookups of domains in block lists, by the owner of the lease.

What is found is in the record of the domain, so that each replica shows it, and each change is an
event. Hosts of the installation and of brands, which are in the mail of many domains, are looked
up too; a listing of those is the operator's affair, in log and metric. Before a change counts, the
list that says so is tested again.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from contracts.ingest.v1.directory_pb2 import Domain
from kernel import metrics
from kernel.errors import Fenced, Unavailable
from kernel.lease import Lease
from mail.listed_name import listed_name
from services.ingest.clients.blocklists import BlocklistClient
from services.ingest.domain.domain_listings import (
    CHECKS_TO_END,
    ListingAnswer,
    apply_listings,
    changes,
    current,
)
from services.ingest.domain.verification import may_send
from services.ingest.store.domains import DomainStore, VerificationState

PAGE = 200
CONCURRENT_MAX = 20  # names that are looked up at a time

logger = logging.getLogger(__name__)
Missed = Counter[tuple[str, str, str]]  # checks that did not find a listing: domain, list, name


@dataclass(slots=True)
class DomainListingChecks:
    """hosts: of the installation. One run looks up all domains that may send, and a name of several
    only once."""

    store: DomainStore
    blocklists: BlocklistClient
    lease: Lease
    hosts: Sequence[str] = ()
    _missed: Missed = field(default_factory=Counter)
    _found: dict[str, list[ListingAnswer]] = field(default_factory=dict)  # in this run, by name
    _listed: Counter[str] = field(default_factory=Counter)  # domains in this run, by list
    _listed_hosts: set[tuple[str, str]] = field(default_factory=set)  # list and name

    async def run_once(self) -> None:
        """Does nothing without the lease."""
        if self.lease.fence is None:
            self._missed.clear()
            self._show(Counter())
            return
        await self.blocklists.test_due()
        self._found, self._listed, after, hosts = {}, Counter(), "", set(self.hosts)
        while page := await self.store.page(after, PAGE):
            sending = [one for one in page if may_send(one)]
            await self._check_page(sending)
            hosts |= {host for one in sending for host in (one.bounce_mx, one.tracking_target)}
            after = page[-1].domain_id
        await self._check_hosts(hosts - {""})
        self._show(self._listed)

    async def _check_page(self, domains: Sequence[Domain]) -> None:
        names = {one.domain_id: listed_name(one.name) for one in domains}
        await self._look_up_all(set(names.values()))
        found = {one.domain_id: self._found[names[one.domain_id]] for one in domains}
        changing = {
            each.blocklist for one in domains for each in changes(one, found[one.domain_id])
        }
        await self.blocklists.test_again(changing)
        for one in domains:
            await self._record(one, found[one.domain_id])

    async def _check_hosts(self, hosts: Collection[str]) -> None:
        names = set(map(listed_name, hosts))
        await self._look_up_all(names)
        found = {(one.blocklist, name) for name in names for one in self._found[name] if one.listed}
        await self.blocklists.test_again({one for one, _ in found - self._listed_hosts})
        found = {one for one in found if self.blocklists.health.is_usable(one[0])}
        for blocklist, name in sorted(found - self._listed_hosts):
            logger.warning("host.listed", extra={"blocklist": blocklist, "host": name})
        self._listed_hosts = found
        self._listed.update(blocklist for blocklist, _ in found)

    async def _look_up_all(self, names: Collection[str]) -> None:
        slots = asyncio.Semaphore(CONCURRENT_MAX)
        async with asyncio.TaskGroup() as group:
            for name in sorted(set(names) - self._found.keys()):
                group.create_task(self._look_up(name, slots))

    async def _look_up(self, name: str, slots: asyncio.Semaphore) -> None:
        async with slots:
            self._found[name] = await self.blocklists.find(name)

    async def _record(self, domain: Domain, found: Sequence[ListingAnswer]) -> None:
        is_usable = self.blocklists.health.is_usable
        valid = [one for one in found if is_usable(one.blocklist)]
        news = [one for one in changes(domain, valid) if self._counts(domain, one)]
        self._listed.update({one.blocklist for one in current(domain)})
        for one in valid:
            if one.listed:
                self._missed.pop((domain.domain_id, one.blocklist, one.name), None)
        if not news:
            return

        def record(
            now_domain: Domain, before: VerificationState, now: datetime
        ) -> VerificationState:
            apply_listings(now_domain, news, now)
            return before

        try:
            await self.store.change(domain.domain_id, record, transaction=self.lease.transaction)
        except (Fenced, Unavailable) as error:  # the next run finds it again
            logger.warning("domain.listing_not_recorded", extra={"reason": repr(error)})

    def _counts(self, domain: Domain, one: ListingAnswer) -> bool:
        """A listing counts at once, its end after two checks."""
        if one.listed:
            return True
        key = (domain.domain_id, one.blocklist, one.name)
        self._missed[key] += 1
        if self._missed[key] < CHECKS_TO_END:
            return False
        del self._missed[key]
        return True

    def _show(self, listed: Counter[str]) -> None:
        for name in self.blocklists.health.blocklists:
            metrics.domains_listed.labels(name).set(listed[name])
