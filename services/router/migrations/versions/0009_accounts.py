"""Lists of a whole account: its queues and suppressions."""

from kernel.tenant_accounts import allow_account_reads, create_table

revision, down_revision = "0009", "0008"


def upgrade() -> None:
    create_table()
    for table in ("messages", "queues", "suppressions"):
        allow_account_reads(table)
