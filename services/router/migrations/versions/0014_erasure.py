"""Suppressions of erased recipients, of which only a keyed hash is left, and the key."""

from kernel.migrate import sql

revision, down_revision = "0014", "0013"


def upgrade() -> None:
    sql("""
        CREATE TABLE address_key (
            single boolean PRIMARY KEY DEFAULT true CHECK (single),
            key bytea NOT NULL                 -- encrypted
        );
        CREATE INDEX suppressions_erased ON suppressions (owner_id) WHERE address = '';
    """)
