"""The machine that owns the addresses of an egress source."""

from kernel.migrate import sql

revision, down_revision = "0015", "0014"


def upgrade() -> None:
    sql("ALTER TABLE egress_sources ADD egress_host text NOT NULL DEFAULT ''")
