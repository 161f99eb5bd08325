"""Counts what accounts have, through the day. One process at a time."""

import logging
from uuid import UUID

from kernel.errors import Fenced
from kernel.ids import NIL
from kernel.lease import Lease
from services.ingest.store import resource_counts

logger = logging.getLogger(__name__)


class ResourceCountRecorder:
    """The action of a loop. It does nothing without the lease."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def run_once(self) -> None:
        after: UUID | None = NIL
        try:
            while after is not None and self._lease.fence is not None:
                async with self._lease.transaction() as tx:
                    after = await resource_counts.count_page(tx, after=after)
        except Fenced:
            logger.info("resource_counts.leader_changed")
