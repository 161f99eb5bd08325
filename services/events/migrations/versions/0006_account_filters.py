"""The filters of an account's emails, in one index each: an account has too many tenants to merge
theirs. Existing rows get their account from the loop `AccountBackfill`."""

from kernel.migrate import add_account_rls, sql

revision, down_revision = "0006", "0005"


def upgrade() -> None:
    sql("""
        ALTER TABLE state ADD COLUMN account_id uuid;
        CREATE INDEX state_recipient_of_account ON state (account_id, recipient, email_id);
        CREATE INDEX state_domain_of_account ON state (account_id, domain, email_id);
        CREATE INDEX state_without_account ON state (email_id) WHERE account_id IS NULL;
        ALTER TABLE tags ADD COLUMN account_id uuid;
        CREATE INDEX tags_of_account ON tags (account_id, tag, email_id);
        CREATE INDEX tags_without_account ON tags (email_id) WHERE account_id IS NULL;
    """)
    for table in ("state", "tags"):
        add_account_rls(table)
