"""The signing secret that a rotation has replaced, which signs too for a time."""

from kernel.migrate import sql

revision, down_revision = "0014c", "0015"


def upgrade() -> None:
    sql("""
        ALTER TABLE webhooks
            ADD COLUMN previous_secret bytea,      -- encrypted
            ADD COLUMN previous_until timestamptz  -- from then on it does not sign
    """)
