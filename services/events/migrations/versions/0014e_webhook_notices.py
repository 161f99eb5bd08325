"""The mail to the owner of a webhook endpoint that was disabled."""

from kernel.migrate import sql

revision, down_revision = "0014e", "0014d"


def upgrade() -> None:
    sql("""
        ALTER TABLE webhooks
            ADD COLUMN disabled_at timestamptz,    -- not by its owner
            ADD COLUMN notice_due_at timestamptz,  -- of the mail; NULL: none is due
            ADD COLUMN noticed_at timestamptz      -- when the last one was sent
    """)
    sql("CREATE INDEX webhooks_notice ON webhooks (notice_due_at) WHERE notice_due_at IS NOT NULL")
