"""How many recipients of a campaign have unsubscribed."""

from kernel.migrate import sql

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    sql("ALTER TABLE campaigns ADD COLUMN unsubscribed float8 NOT NULL DEFAULT 0")
