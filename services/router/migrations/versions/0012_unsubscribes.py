"""Unsubscribes are kept beside the other suppressions of an address."""

from kernel.migrate import sql

revision, down_revision = "0012", "0011"

KEYS = """
CREATE UNIQUE INDEX suppressions_by_address
    ON suppressions (owner_id, address_hash, list, (origin = 'unsubscribe'));
ALTER TABLE suppressions
    DROP CONSTRAINT suppressions_pkey,
    ADD CONSTRAINT suppressions_pkey PRIMARY KEY USING INDEX suppressions_by_id;
"""


def upgrade() -> None:
    sql(KEYS)
