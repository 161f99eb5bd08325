"""The log of API requests: collected in memory, and written in groups beside the requests."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

from kernel import metrics
from kernel.database import Database
from kernel.errors import Unavailable
from services.ingest.domain.request_log import LoggedRequest, line, masked, outline
from services.ingest.store.directory_lists import DirectoryLists, EntryOwner, PageBounds

RETENTION = timedelta(days=30)
REQUESTS_MAX = 20_000  # in memory: about 10 MB
OCTETS_MAX = 4 * 1024 * 1024  # of their bodies
BATCH = 1_000
AT_ONCE = 50  # that are prepared before others have their turn

INSERT = """
INSERT INTO ingest.requests
    (id, account_id, tenant_id, test, method, endpoint, status, user_agent, request_id,
     request_body, response_body)
SELECT id, account_id, nullif(tenant_id, '')::uuid, test, method, endpoint, status, user_agent,
    request_id, request_body::jsonb, response_body::jsonb
FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::boolean[], %s::text[], %s::text[],
        %s::smallint[], %s::text[], %s::text[], %s::text[], %s::text[])
    AS request (id, account_id, tenant_id, test, method, endpoint, status, user_agent, request_id,
        request_body, response_body)
"""
COLUMNS = "id::text, endpoint, method, status, user_agent, request_id, request_body, response_body"
SELECT = f"SELECT {COLUMNS} FROM ingest.requests"  # noqa: S608 - constants only

logger = logging.getLogger(__name__)


class StoredRequest(NamedTuple):
    """request_body, response_body: of a refusal, as far as they may be shown."""

    id: str
    endpoint: str
    method: str
    status: int
    user_agent: str
    request_id: str
    request_body: Any
    response_body: Any


class RequestLogWriter:
    """What was not written yet is bounded: requests beyond that are not logged, and counted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[LoggedRequest] = deque()
        self._octets = 0

    def add(self, request: LoggedRequest) -> None:
        """Never waits."""
        if len(self._waiting) >= REQUESTS_MAX:
            metrics.requests_unlogged.inc()
            return
        if self._octets + request.octets > OCTETS_MAX:
            request = request._replace(request_body=b"", response_body=b"")
        self._octets += request.octets
        self._waiting.append(request)

    async def write(self) -> None:
        """Write all that wait. What is being written when the database goes away is written again
        later, once: its ids are new, so a repeat would be seen. Raises Unavailable."""
        while self._waiting:
            batch = [self._waiting[n] for n in range(min(BATCH, len(self._waiting)))]
            rows = await prepared(batch)
            try:
                await self._database.execute_autocommit(
                    INSERT, [list(column) for column in zip(*rows, strict=True)]
                )
            except Unavailable:
                raise
            except Exception:
                logger.exception("request_log.failed")
                metrics.requests_unlogged.inc(len(batch))
            for one in batch:
                self._octets -= one.octets
                self._waiting.popleft()

    async def close(self) -> None:
        with suppress(Unavailable):
            await self.write()


async def prepared(batch: Sequence[LoggedRequest]) -> list[tuple[Any, ...]]:
    """The columns of each."""
    rows = []
    for number, one in enumerate(batch, 1):
        shown = one._replace(endpoint=line(one.endpoint), user_agent=line(one.user_agent))
        rows.append((*shown[:-2], outline(one.request_body), masked(one.response_body)))
        if not number % AT_ONCE:
            await asyncio.sleep(0)
    return rows


class RequestLogReader:
    """What a tenant or an account sees of the log."""

    def __init__(self, lists: DirectoryLists) -> None:
        self._lists = lists

    async def page(
        self, owner: EntryOwner, page: PageBounds, *, test_only: bool, request_id: str = ""
    ) -> tuple[list[StoredRequest], bool]:
        """Newest first, and whether more follows. request_id: only the one with this id."""
        column = "tenant_id" if owner.tenant_id else "account_id"
        conditions = [f"{column} = %({column})s", "test >= %(test_only)s"]
        if request_id:
            conditions.append("id = %(request_id)s")
        values = {**owner._asdict(), "test_only": test_only, "request_id": request_id}
        rows, more = await self._lists.rows(
            SELECT, owner, page, conditions=conditions, values=values
        )
        return [StoredRequest(*row) for row in rows], more
