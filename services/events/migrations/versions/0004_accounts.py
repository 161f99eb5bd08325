"""Lists of a whole account. Emails have its id, because an account has too many of them to merge
those of its tenants. Existing emails get it from the loop `AccountBackfill`."""

from kernel.migrate import add_account_rls, sql
from kernel.tenant_accounts import allow_account_reads, create_table

revision, down_revision = "0004", "0003"


def upgrade() -> None:
    create_table()
    sql("""
        ALTER TABLE emails ADD COLUMN account_id uuid;
        CREATE INDEX emails_of_account ON emails (account_id, test, rank, email_id);
        CREATE INDEX emails_without_account ON emails (email_id) WHERE account_id IS NULL;
    """)
    add_account_rls("emails")
    for table in ("log", "webhooks"):
        allow_account_reads(table)
