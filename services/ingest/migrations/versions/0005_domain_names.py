"""An index to look up domains by name."""

from kernel.migrate import sql

revision, down_revision = "0005", "0004"


def upgrade() -> None:
    sql("CREATE INDEX domains_name ON domains (name) WHERE NOT deleted")
