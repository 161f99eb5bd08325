"""The MTA-STS policies of domains."""

from kernel.migrate import sql

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    sql("""
        CREATE TABLE mta_sts_policies (
            domain text PRIMARY KEY,
            policy_id text NOT NULL,   -- of the TXT record
            policy text NOT NULL,      -- the lines of the file
            fetched_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL
        );
        CREATE INDEX mta_sts_policies_expiry ON mta_sts_policies (expires_at);
    """)
