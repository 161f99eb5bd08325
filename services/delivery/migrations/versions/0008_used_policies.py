"""When mail last needed the MTA-STS policy of a domain."""

from kernel.migrate import sql

revision, down_revision = "0008", "0006"


def upgrade() -> None:
    sql("""
        ALTER TABLE mta_sts_policies ADD COLUMN used_at timestamptz NOT NULL DEFAULT now();
        CREATE INDEX mta_sts_policies_use ON mta_sts_policies (used_at);
    """)
