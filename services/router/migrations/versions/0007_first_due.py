"""A bound below the due times in a queue, so that its first messages are found at once."""

from kernel.migrate import sql

revision, down_revision = "0007", "0006"


def upgrade() -> None:
    sql("""
        ALTER TABLE queues ADD COLUMN first_due_at timestamptz; -- NULL: empty
        UPDATE queues SET first_due_at = '-infinity';
    """)
