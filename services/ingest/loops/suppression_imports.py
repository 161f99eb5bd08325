"""Adds the lines of imports of suppressions in the background, part by part.

A part is committed after the router has added its lines. A process that dies in between adds them
again, under the same ids: so none is added twice, and each counts as what it was the first time.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from contracts.ingest.v1.directory_pb2 import Account, Tenant
from contracts.router.v1.router_service_pb2 import AddSuppressionsRequest
from contracts.router.v1.router_service_pb2 import NewSuppression as RouterSuppression
from kernel import clock
from kernel.crypto import SecretKeyring
from kernel.errors import Fenced, Unavailable
from kernel.failpoint import failpoint
from kernel.ids import creation_time_of
from kernel.lease import Lease
from services.ingest.clients import ServiceClients
from services.ingest.domain.accepted_event import timestamp
from services.ingest.domain.problem import Problem
from services.ingest.domain.suppression_file import (
    FailedLine,
    ImportedSuppression,
    read_line,
    suppression_id,
)
from services.ingest.store.suppression_imports import ImportPart, ImportPartOutcome, ImportQueue

ADD_DEADLINE_S = 10.0  # for a thousand addresses, on a busy machine
RETRY_S = 30.0
TRIES_MAX = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SuppressionImporter:
    """tenant_of, account_of: the one with an id; None if it is closed."""

    queue: ImportQueue
    clients: ServiceClients
    secrets: SecretKeyring
    lease: Lease
    tenant_of: Callable[[str], Awaitable[Tenant | None]]
    account_of: Callable[[str], Awaitable[Account | None]]

    async def run_once(self) -> None:
        """Add all parts that wait, of each import in turn. Only the holder of the lease does, and
        stops when the router does not respond: the next run continues."""
        try:
            while self.lease.fence is not None and (part := await self.queue.next_part()):
                await self._add_part(part)
        except Fenced:
            logger.info("suppression_import.lease_lost")
        except Problem as problem:
            logger.warning("suppression_import.postponed", extra={"reason": problem.detail})

    async def _add_part(self, part: ImportPart) -> None:
        """Raises Fenced, Problem 503, Unavailable."""
        sealed_key = await self._sealed_key(part)
        if sealed_key is None:  # nobody can see the import any more
            await self.queue.delete(part.of)
            return
        try:
            key = self.secrets.decrypt(sealed_key)
            outcome = await self._add_lines(part, key)
        except Exception as error:
            if is_temporary(error):
                raise
            logger.exception("suppression_import.failed", extra=part.of._asdict())
            await self.queue.postpone(part, delay_s=RETRY_S)  # others must not wait for it
            return
        failpoint("ingest.suppressions.added")
        await self.queue.save(part, outcome, key=key)
        failpoint("ingest.suppressions.part_saved")

    async def _sealed_key(self, part: ImportPart) -> bytes | None:
        """The encrypted key of its body; None if its tenant or account is closed."""
        if part.sealed_key is not None:
            account = await self.account_of(part.of.account_id)
            return None if account is None else part.sealed_key
        tenant = await self.tenant_of(part.of.tenant_id)
        return None if tenant is None else tenant.content_key

    async def _add_lines(self, part: ImportPart, key: bytes) -> ImportPartOutcome:
        """Raises Problem."""
        if part.tries >= TRIES_MAX:
            problem = f"This line and the following, {part.lines} in all, could not be added."
            return ImportPartOutcome(0, 0, part.lines, [FailedLine(part.first_line, "", problem)])
        now = clock.now()
        read = [read_line(line, now) for line in part.read(key)]
        failures = [one for one in read if isinstance(one, FailedLine)]
        valid = [one for one in read if isinstance(one, ImportedSuppression)]
        added = await self._call_router(part, valid)
        return ImportPartOutcome(added, len(valid) - added, len(failures), failures)

    async def _call_router(self, part: ImportPart, valid: Sequence[ImportedSuppression]) -> int:
        """Returns the number of new suppressions: those with the id of a line."""
        created_at = creation_time_of(UUID(part.of.import_id))
        new = {suppression_id(part.of.import_id, one, created_at): one for one in valid}
        request = AddSuppressionsRequest(
            **part.of.owner._asdict(),
            suppressions=[requested(identifier, one) for identifier, one in new.items()],
            silent=True,
        )
        router = self.clients.router
        response = await router.call(
            router.stub.AddSuppressions, request, deadline_s=ADD_DEADLINE_S
        )
        return len({one.id for one in response.suppressions} & new.keys())


def requested(identifier: str, new: ImportedSuppression) -> RouterSuppression:
    return RouterSuppression(
        id=identifier,
        address=new.email,
        origin=new.origin,
        list=new.texts.list or "",
        reason=new.texts.reason,
        note=new.texts.note,
        expires_at=timestamp(new.expires_at) if new.expires_at else None,
    )


def is_temporary(error: Exception) -> bool:
    """Whether it concerns every part."""
    if isinstance(error, Problem):
        return error.status == 503
    return isinstance(error, Unavailable)
