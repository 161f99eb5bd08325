"""Retention: removes what has expired."""

import logging

from kernel import clock
from kernel.content import CONTENT_STORE, ContentStore, check_mounted
from kernel.health import DependencyHealth
from kernel.lease import Lease
from services.ingest.store.retention import RetentionStore

PARTITIONS = "partitions"  # in DependencyHealth: without today's partition nothing can be accepted

logger = logging.getLogger(__name__)


class RetentionMaintenance:
    def __init__(
        self,
        store: RetentionStore,
        content: ContentStore,
        *,
        lease: Lease,
        health: DependencyHealth,
    ) -> None:
        self._store = store
        self._content = content
        self._lease = lease
        self._health = health
        health.unavailable |= {PARTITIONS, CONTENT_STORE}

    async def create_partitions(self) -> None:
        """In a loop of its own: removing what has expired may take hours, or hang."""
        await self._store.create_partitions()
        self._health.unavailable.discard(PARTITIONS)

    async def run_once(self) -> None:
        """The lease holder removes expired data."""
        if self._lease.fence is None or not await self._store.clocks_agree():
            return
        keys = await self._store.expire_keys()
        await self._store.expire_content_usage()
        await self._store.expire_resource_counts()
        await self._store.expire_audit_log()
        await self._store.expire_suppression_imports()
        await self._store.drop_requests()
        await self._store.expire_erasures()
        days = await self._store.drop_days()
        prefixes = await self._content.remove_expired(clock.now().date())
        if keys or days or prefixes:
            logger.info("retention.done", extra={"keys": keys, "days": days, "content": prefixes})

    async def initialize_content_store(self) -> None:
        """Initialize an empty content store, unless there is mail already: then its volume is not
        mounted. Raises Unavailable."""
        if not await self._content.is_mounted() and not await self._store.has_mail():
            await self._content.initialize()
        await check_mounted(self._content)
        self._health.unavailable.discard(CONTENT_STORE)
