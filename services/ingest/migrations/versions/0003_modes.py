"""Separate the idempotency keys of test and live mail."""

from kernel.migrate import sql

revision, down_revision = "0003", "0002"

MODES = """
    ALTER TABLE idempotency ADD COLUMN test boolean NOT NULL DEFAULT false;
    ALTER TABLE idempotency DROP CONSTRAINT idempotency_pkey;
    ALTER TABLE idempotency ADD PRIMARY KEY (tenant_id, test, route, key);
"""


def upgrade() -> None:
    sql(MODES)
