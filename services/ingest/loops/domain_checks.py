"""The timer that checks domains by DNS: it finds those that are due, and records what is published.

The state is in the database and changes in one transaction per domain, so a process that dies
repeats at most a lookup.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from contracts.ingest.v1.directory_pb2 import Domain
from kernel.errors import Fenced, Unavailable
from kernel.lease import Lease
from kernel.resolver import AuthoritativeResolver
from mail.domain_check import RecordCheck, check_records
from services.ingest.clients.domain_dns import look_up_records
from services.ingest.domain import dkim_rotation, tracking_host, verification
from services.ingest.domain.verification import HOUR
from services.ingest.store.domain_keys import DomainKeyring
from services.ingest.store.domains import DomainStore, VerificationState

BATCH = 200

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DomainChecks:
    """lookups_max: domains that are looked up at a time."""

    store: DomainStore
    keys: DomainKeyring
    resolver: AuthoritativeResolver
    lease: Lease
    lookups_max: int

    async def run_once(self) -> None:
        """Check all domains that are due. Does nothing without the lease, or without hosts that
        records could name."""
        while self.lease.fence is not None and self.keys.hosts:
            due = await self.store.due(BATCH)
            slots = asyncio.Semaphore(self.lookups_max)
            async with asyncio.TaskGroup() as group:
                for one in due:
                    group.create_task(self._check_in_slot(one, slots))
            if len(due) < BATCH:
                return

    async def _check_in_slot(self, domain: Domain, slots: asyncio.Semaphore) -> None:
        async with slots:
            try:
                await self._check(domain)
            except (Fenced, Unavailable) as error:  # the domain stays due
                logger.warning("domain.not_checked", extra={"reason": repr(error)})
            except Exception:  # it must not keep others from being checked
                logger.exception("domain.check_failed", extra={"domain": domain.domain_id})
                await self.store.change(
                    domain.domain_id, postpone_check, transaction=self.lease.transaction
                )

    async def _check(self, domain: Domain) -> None:
        records = self.keys.records(domain)
        published = await look_up_records(self.resolver, domain.name, records)
        checks = check_records(records, published)

        def record(
            now_domain: Domain, before: VerificationState, now: datetime
        ) -> VerificationState:
            if now_domain.version != domain.version:  # changed meanwhile: look again
                return before
            return apply_checks(now_domain, before, checks, now=now)

        await self.store.change(domain.domain_id, record, transaction=self.lease.transaction)
        logger.info("domain.checked", extra={"domain": domain.domain_id})


def apply_checks(
    domain: Domain, before: VerificationState, checks: Sequence[RecordCheck], *, now: datetime
) -> VerificationState:
    """Change the domain and its state by what was found. The status of a domain that an operator
    vouches for stays."""
    state = verification.decide(before.verification, verification.findings_of(checks), now)
    dkim_rotation.advance_rotation(domain, checks, now)
    tracking_host.apply_checks(domain, checks)
    waiting = domain.HasField("pending_keys") or tracking_host.is_pending(domain)
    delay = verification.delay_to_next(state, waiting=waiting)
    if domain.vouched:
        state = replace(before.verification, checks=state.checks)
        has_checks = dkim_rotation.is_rotating(domain) or domain.tracking_host
        delay = delay if has_checks else None
    else:
        domain.status, domain.paused = state.status, state.paused  # type: ignore[assignment]
        if verification.is_conclusive(checks):
            domain.missing_record = verification.first_missing(checks)
    found = tuple(verification.found_record(one, last=delay is None) for one in checks)
    return VerificationState(state, found, now, now + delay if delay else None)


def postpone_check(_: Domain, before: VerificationState, now: datetime) -> VerificationState:
    return replace(before, due_at=now + HOUR)
