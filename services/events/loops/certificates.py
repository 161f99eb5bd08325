"""Orders, renews and reads the certificates of the hosts of domains.

One process at a time orders, by a lease; all read what it has stored.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from contracts.events.v1.events_pb2 import CertificateChanged
from contracts.ingest.v1.directory_pb2 import TrackingHost
from kernel import clock, metrics
from kernel.crypto import SecretKeyring
from kernel.database import Database
from kernel.errors import Fenced
from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.table import ReplicatedTable
from kernel.tls import PemPair
from kernel.topics import encode
from services.events.domain.caa import CaaRecords, refusal
from services.events.domain.certificates import (
    CertificateOrderFailed,
    IssuedCertificate,
    claim_delay,
    retry_delay,
)
from services.events.store import certificates as store
from services.events.store.certificates import HostDueForCertificate, StoredCertificate

PAGE = 500
TENANT_SHARE = 1 / 3  # of the orders of an hour
ORDERS_AT_A_TIME = 10  # before the leader looks for new hosts again

logger = logging.getLogger(__name__)


class CertificateAuthority(Protocol):
    async def identities(self) -> Sequence[str]:
        """Its names in CAA records; none if it does not say. Raises CertificateOrderFailed."""
        ...

    async def order(self, host: str) -> IssuedCertificate:
        """Raises CertificateOrderFailed."""
        ...


class CaaLookup(Protocol):
    async def find(self, host: str) -> CaaRecords | None:
        """The CAA records that count for a host; None if it is not known."""
        ...


@dataclass(slots=True)
class CertificateOrderer:
    """hosts: of domains. open_authority: called when the first order is due. caa: says which orders
    the authority would refuse. per_hour_max: orders.

    A host that becomes active is ordered a certificate for; one that is renewed keeps the old one
    until the new one is stored.
    """

    database: Database
    outbox: Outbox
    health: DependencyHealth
    hosts: ReplicatedTable[TrackingHost]
    lease: Lease
    secrets: SecretKeyring
    open_authority: Callable[[], CertificateAuthority]
    caa: CaaLookup
    per_hour_max: int
    _authority: CertificateAuthority | None = None
    _fence: int | None = None  # of the lease under which all hosts were stored
    _changed: set[str] = field(default_factory=set)  # ids of hosts that are not stored yet
    _wait_until_s: float = 0.0

    def __post_init__(self) -> None:
        self.hosts.on_change(lambda one: self._changed.add(one.tracking_host_id))

    async def run_once(self) -> None:
        """Does nothing without the lease."""
        if self.lease.fence is None or not self.hosts.replayed.is_set():
            return
        try:
            await self._store_hosts()
            if clock.monotonic_s() >= self._wait_until_s:
                await self._order_due()
        except Fenced:
            logger.info("certificates.leader_changed")

    async def _store_hosts(self) -> None:
        if self._fence != self.lease.fence:
            self._fence = self.lease.fence
            self._changed |= {one.tracking_host_id for one in self.hosts.values()}
        while self._changed:
            some = [self._changed.pop() for _ in range(min(PAGE, len(self._changed)))]
            records = [one for one in map(self.hosts.get, some) if one is not None]
            try:
                async with self.lease.transaction() as tx:
                    await store.put_hosts(tx, records)
            except BaseException:
                self._changed.update(some)
                raise

    async def _order_due(self) -> None:
        allowed = self.per_hour_max - await store.ordered_in_an_hour(self.database)
        count = min(ORDERS_AT_A_TIME, max(allowed, 0))
        tenant_max = max(1, int(TENANT_SHARE * self.per_hour_max))
        for due in await store.due_hosts(self.database, count, tenant_max=tenant_max):
            if clock.monotonic_s() < self._wait_until_s:
                return
            await self._order(due)

    async def _order(self, due: HostDueForCertificate) -> None:
        try:
            authority = await self._authority_for(due.host)
            async with self.lease.transaction() as tx:
                await store.claim(tx, due.host, retry_in=claim_delay(due.failures))
            failpoint("events.certificate.claimed")
            issued = await authority.order(due.host)
        except CertificateOrderFailed as error:
            await self._fail(due, error)
            return
        failpoint("events.certificate.issued")
        sealed = self.secrets.encrypt(issued.key)
        async with self.lease.transaction() as tx:
            version = await store.save_issued(tx, due.host, issued, sealed_key=sealed)
            event = CertificateChanged(host=due.host, version=version)
            event.expires_at.FromDatetime(issued.not_after)
            entry = await self.outbox.add(tx, [encode(event, clock.now())])
            failpoint("events.certificate.in_transaction")
        self.outbox.publish_in_background(entry, self.health)
        metrics.certificate_orders.labels("issued").inc()
        logger.info("certificate.issued", extra={"host": due.host})

    async def _authority_for(self, host: str) -> CertificateAuthority:
        """Raises CertificateOrderFailed where CAA records forbid that it certifies the host: it
        would refuse, and each refusal is one of the few orders that it allows. What cannot be
        looked up does not count."""
        if self._authority is None:
            self._authority = self.open_authority()
        if identities := await self._authority.identities():
            found = await self.caa.find(host)
            if found and (problem := refusal(found, identities)):
                raise CertificateOrderFailed(problem, is_forbidden=True)
        return self._authority

    async def _fail(self, due: HostDueForCertificate, error: CertificateOrderFailed) -> None:
        """An order that failed for a reason of the authority does not count as one of the host,
        which is due again when the authority is asked again."""
        self._wait_until_s = clock.monotonic_s() + error.wait_s
        failures = due.failures + (0 if error.wait_s else 1)
        delay = timedelta(seconds=error.wait_s) if error.wait_s else retry_delay(failures)
        async with self.lease.transaction() as tx:
            version, due_at = await store.save_failure(
                tx, due.host, failures=failures, problem=error.problem, retry_in=delay
            )
            event = CertificateChanged(
                host=due.host, version=version,
                problem=error.problem, forbidden=error.is_forbidden,
            )  # fmt: skip
            _set_times(event, due.not_after, due_at)
            entry = await self.outbox.add(tx, [encode(event, clock.now())])
        self.outbox.publish_in_background(entry, self.health)
        metrics.certificate_orders.labels("failed").inc()
        extra = {"host": due.host, "problem": error.problem, "wait_s": error.wait_s}
        logger.warning("certificate.not_issued", extra=extra)


def _set_times(
    event: CertificateChanged, expires_at: datetime | None, retry_at: datetime | None
) -> None:
    if expires_at is not None:
        event.expires_at.FromDatetime(expires_at)
    if retry_at is not None:
        event.retry_at.FromDatetime(retry_at)


class CertificateCache:
    """In memory, so that handshakes need no database."""

    def __init__(self, database: Database, secrets: SecretKeyring) -> None:
        self._database = database
        self._secrets = secrets
        self._by_host: dict[str, StoredCertificate] = {}
        self._version = 0

    def find(self, host: str) -> PemPair | None:
        """Raises ConfigError if no key of the keyring has encrypted it."""
        found = self._by_host.get(host)
        if found is None or not found.chain:
            return None
        return PemPair(self._secrets.decrypt(found.private_key), found.chain)

    async def run_once(self) -> None:
        """Read what has changed."""
        while rows := await store.changed_after(self._database, self._version, PAGE):
            for one in rows:
                self._by_host[one.host] = one
            self._version = rows[-1].version
            if len(rows) < PAGE:
                return
