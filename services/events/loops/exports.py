"""Writes the files of exports in the background, page by page.

A page is read, sealed and saved with the place where the next one begins, in one transaction: a
process that dies before that has changed nothing, and the next holder of the lease goes on there.
"""

import asyncio
import logging
import zlib
from dataclasses import dataclass

from kernel import clock
from kernel.crypto import SecretKeyring, seal
from kernel.database import Database
from kernel.errors import Fenced, Unavailable
from kernel.failpoint import failpoint
from kernel.lease import Lease
from services.events.domain.export import Export, lines_of
from services.events.store.export_pages import ExportPage, read_page, row_of, row_owner_of
from services.events.store.exports import DueExport, ExportQueue, SealedExportPage

AT_ONCE = 50  # rows that are formatted before others have their turn: about 2 ms
COMPRESSION = 1
RETRY_S = 30.0
TRIES_MAX = 5
FAILURE = "An internal error occurred. Create the export again."

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportWriter:
    """database: of its own, with the role that row-level security binds, so that no request waits
    for its connection. page_rows: rows that are read at once. rows_max: of a file."""

    queue: ExportQueue
    database: Database
    secrets: SecretKeyring
    lease: Lease
    page_rows: int
    rows_max: int

    async def run_once(self) -> None:
        """Write all pages, of each export in turn. Between two pages it pauses as long as the first
        took: what others do at once becomes at most a little slower."""
        try:
            while self.lease.fence is not None and (turn := await self.queue.next_turn()):
                began_s = clock.monotonic_s()
                await self._take(turn)
                await asyncio.sleep(clock.monotonic_s() - began_s)
        except Fenced:
            logger.info("export.lease_lost")

    async def delete_expired(self) -> None:
        try:
            while self.lease.fence is not None and await self.queue.delete_some():
                pass
        except Fenced:
            logger.info("export.lease_lost")

    async def _take(self, turn: DueExport) -> None:
        """Raises Fenced, Unavailable."""
        try:
            page = await self._write(turn)
        except Unavailable:
            await self.queue.postpone(turn, delay_s=RETRY_S)  # if it is this one's fault
            raise
        except Exception:
            logger.exception("export.failed", extra={"export_id": turn.export.id})
            failure = FAILURE if turn.tries + 1 >= TRIES_MAX else ""
            await self.queue.postpone(turn, delay_s=RETRY_S, failure=failure)
            return
        failpoint("events.export.written")
        await self.queue.save(turn, page)
        failpoint("events.export.saved")

    async def _write(self, turn: DueExport) -> SealedExportPage:
        export = turn.export
        limit = min(self.page_rows, self.rows_max - export.rows)
        async with self.database.transaction(**row_owner_of(export)._asdict()) as tx:
            page = await read_page(tx, export, after=turn.after, limit=limit)
        lines = await formatted(page, export)
        key = self.secrets.decrypt(turn.key)
        rows = len(page.entries)
        is_full = export.rows + rows >= self.rows_max
        return SealedExportPage(
            rows,
            sum(map(len, lines)),
            await asyncio.to_thread(sealed, key, lines, export.associated(export.parts)),
            page.next,
            page.reached_at,
            is_last=is_full or not page.next,
            truncated=is_full and bool(page.next),
        )


async def formatted(page: ExportPage, export: Export) -> list[bytes]:
    lines = []
    for start in range(0, len(page.entries), AT_ONCE):
        rows = map(row_of, page.entries[start : start + AT_ONCE])
        lines.append(lines_of(rows, export.kind, export.format))
        await asyncio.sleep(0)
    return lines


def sealed(key: bytes, lines: list[bytes], associated: bytes) -> bytes:
    """Compressed first. Empty without lines."""
    if not lines:
        return b""
    return seal(key, zlib.compress(b"".join(lines), COMPRESSION), associated)
