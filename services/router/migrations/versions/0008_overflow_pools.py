"""The overflow pool of a pool."""

from kernel.migrate import sql

revision, down_revision = "0008", "0007"


def upgrade() -> None:
    sql("ALTER TABLE pools ADD overflow_pool_id uuid REFERENCES pools")
