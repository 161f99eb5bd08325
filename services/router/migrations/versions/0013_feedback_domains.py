"""The domain that signs the mail of a pool for feedback loops."""

from kernel.migrate import sql

revision, down_revision = "0013", "0012"


def upgrade() -> None:
    sql("ALTER TABLE pools ADD feedback_domain_id uuid")
