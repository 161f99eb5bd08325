"""An index of all accounts with a billing_id, also closed ones: what they used is exported too."""

from kernel.migrate import sql

revision, down_revision = "0021", "0020"


def upgrade() -> None:
    sql("""
        DROP INDEX accounts_billed;
        CREATE INDEX accounts_billed ON accounts (id) WHERE billing_id <> '';
    """)
