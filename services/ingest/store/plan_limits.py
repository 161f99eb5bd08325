"""How many entries an account has of what its plan limits."""

from collections.abc import Mapping

from google.protobuf.message import Message

from contracts.ingest.v1.directory_pb2 import Domain, Mailbox, Tenant
from kernel.database import Transaction

COUNT = """
SELECT a.plan, (SELECT count(*) FROM {entries})
FROM ingest.accounts AS a WHERE a.id = %s AND a.plan <> ''
"""
ENTRIES: Mapping[type[Message], str] = {
    Domain: "ingest.tenants AS t JOIN ingest.domains AS d ON d.tenant_id = t.id"
    " WHERE t.account_id = a.id AND NOT t.deleted AND NOT d.deleted",
    Mailbox: "ingest.mailboxes AS m WHERE m.account_id = a.id AND NOT m.deleted AND NOT m.test",
    Tenant: "ingest.tenants AS t WHERE t.account_id = a.id AND NOT t.deleted",
}


async def count_of_plan(
    tx: Transaction, kind: type[Domain | Mailbox | Tenant], account_id: str
) -> tuple[str, int]:
    """The plan of the account, empty without one, and how many entries it has. In a transaction
    with LOCK, nobody adds one meanwhile."""
    rows = await tx.rows(COUNT.format(entries=ENTRIES[kind]), (account_id,))
    return (rows[0][0], rows[0][1]) if rows else ("", 0)
