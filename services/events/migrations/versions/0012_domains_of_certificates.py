"""The domain of each host with a certificate: a new one begins the orders anew."""

from kernel.migrate import sql

revision, down_revision = "0012", "0011"


def upgrade() -> None:
    sql("ALTER TABLE certificates ADD COLUMN domain_id uuid")  # NULL: not yet stored again
