"""Which reports about a message arrived as mail: `bounce`, `complaint`."""

from kernel.migrate import sql

revision, down_revision = "0004", "0003"


def upgrade() -> None:
    sql("ALTER TABLE attempts ADD COLUMN reports text[]")
