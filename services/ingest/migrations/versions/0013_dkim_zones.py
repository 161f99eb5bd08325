"""The domains whose DKIM keys are in a DNS zone of the installation."""

from kernel.migrate import sql

revision, down_revision = "0013", "0012"


# No domain that exists already has one.
def upgrade() -> None:
    sql("""
        ALTER TABLE domains ADD COLUMN dkim_zone text NOT NULL DEFAULT '';
        CREATE INDEX domains_of_dkim_zone ON domains (dkim_zone, id)
            WHERE dkim_zone <> '' AND NOT deleted;
    """)
