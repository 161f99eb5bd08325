"""The audit log as a list: row-level security shows each account its own."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from services.ingest.store.directory_lists import DirectoryLists, EntryOwner, PageBounds

SELECT = """
SELECT id::text AS entry_id, account_id::text, tenant_id::text, actor_kind, actor_id, action,
    resource, resource_id::text, before, after, request_id, client
FROM ingest.audit_log
"""


class AuditEntry(NamedTuple):
    """An act. before, after: the fields of the directory entry; None if it did not exist."""

    id: str
    account_id: str | None
    tenant_id: str | None
    actor_kind: str
    actor_id: str
    action: str
    resource: str
    resource_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str
    client: str


async def list_entries(
    lists: DirectoryLists,
    owner: EntryOwner,
    page: PageBounds,
    *,
    equal: Mapping[str, str],
    first_id: str,
) -> tuple[list[AuditEntry], bool]:
    """A page, newest first, and whether more follows. equal: values by column."""
    conditions = [f"{column} = %({column})s" for column in equal]
    if first_id:
        conditions.append("id >= %(first_id)s")
    values = {**equal, "first_id": first_id}
    rows, more = await lists.rows(SELECT, owner, page, conditions=conditions, values=values)
    return [AuditEntry(*row) for row in rows], more
