"""Makes hits durable before they are answered."""

import asyncio
import logging
from collections.abc import Sequence

from kernel import metrics
from kernel.bounded_dict import BoundedDict
from kernel.group_commit import GroupCommit
from services.events.domain.hit import HitKind, RecordedHit, encode_hit
from services.events.store.hit_spool import HitSpool

REPEATS_MAX = 50_000
COMMIT_TIMEOUT_S = 2.0  # a reader does not wait longer for a link because of our disk
RESERVED = 0.1  # share of the spool that is left to unsubscriptions

logger = logging.getLogger(__name__)


class HitRecorder:
    """One fdatasync for all hits that arrive while the one before it runs."""

    def __init__(self, spool: HitSpool) -> None:
        self._spool = spool
        self._commits: GroupCommit[bytes, bool] = GroupCommit(self._commit, items_max=1_000)
        self._recent: BoundedDict[tuple[object, ...], None] = BoundedDict(REPEATS_MAX)

    async def record(self, hit: RecordedHit) -> bool:
        """Whether the hit is durable. A repeat of a recent one is already."""
        metrics.tracking_hits.labels(hit.kind.name.lower()).inc()
        if hit.key in self._recent:
            return True
        record = encode_hit(hit)
        reason = self._full_reason(hit, len(record))
        if not reason:
            reason = await self._submit(record)
        if reason:
            metrics.tracking_hits_lost.labels(reason).inc()
            return False
        self._recent[hit.key] = None
        return True

    def _full_reason(self, hit: RecordedHit, octets: int) -> str:
        reserved = 0 if hit.kind == HitKind.UNSUBSCRIBE else RESERVED * self._spool.bytes_max
        return "" if self._spool.has_room(octets + int(reserved)) else "full"

    async def _submit(self, record: bytes) -> str:
        """The reason for which it may not be durable; empty if it is."""
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                return "" if await self._commits.submit(record, size=len(record)) else "disk"
        except TimeoutError:
            return "slow"

    async def _commit(self, records: Sequence[bytes]) -> Sequence[bool]:
        try:
            await asyncio.to_thread(self._spool.append, records)
        except OSError as error:
            logger.error("tracking.not_stored", extra={"hits": len(records), "error": repr(error)})
            return [False] * len(records)
        finally:
            metrics.tracking_spool_bytes.set(self._spool.size)
        return [True] * len(records)

    async def close(self) -> None:
        await self._commits.wait_idle()
        self._spool.close()
