"""The audit log, as an account or the operator sees it."""

from collections.abc import Mapping, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from kernel import times
from kernel.database import Database
from kernel.errors import Unavailable
from kernel.failpoint import failpoint
from kernel.ids import lower_bound_at
from services.ingest.api.administration.directory import check_page, query_or_503
from services.ingest.api.callers import Caller
from services.ingest.domain.problem import unavailable
from services.ingest.store.audit_log import Change, record_changes
from services.ingest.store.audit_log_list import AuditEntry, list_entries
from services.ingest.store.directory_lists import DirectoryLists, PageBounds


class AuditLogResource:
    """database: with the role that adds entries."""

    def __init__(self, lists: DirectoryLists, database: Database) -> None:
        self._lists = lists
        self._database = database

    async def record(self, caller: Caller, *changes: Change, action: str = "") -> None:
        """Acts that another service has obeyed, before the response acknowledges them."""
        failpoint("ingest.act.obeyed")
        try:
            async with self._database.transaction() as tx:
                await record_changes(tx, caller.actor, changes, action=action)
        except Unavailable as error:
            raise unavailable() from error

    async def page(
        self, caller: Caller, page: PageBounds, *, equal: Mapping[str, str], since: Timestamp | None
    ) -> tuple[Sequence[AuditEntry], bool]:
        """Newest first. equal: values by column; those that are empty do not restrict the list."""
        given = {column: value for column, value in equal.items() if value}
        first = str(lower_bound_at(times.clamp_timestamp(since))) if since is not None else ""
        return await query_or_503(
            list_entries(self._lists, caller.owner, check_page(page), equal=given, first_id=first)
        )
