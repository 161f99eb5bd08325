"""Certificates of the hosts of domains, and the lease of the process that orders them."""

from kernel.migrate import create_leases_table, sql

revision, down_revision = "0011", "0010"

TABLES = """
    CREATE SEQUENCE certificate_version;
    CREATE TABLE certificates (
        host text PRIMARY KEY,
        tenant_id uuid NOT NULL,
        version bigint NOT NULL DEFAULT 0,  -- of the last order's outcome; 0: none
        active boolean NOT NULL,            -- the host leads here
        due_at timestamptz,                 -- of the next order; NULL: none
        ordered_at timestamptz,
        failures integer NOT NULL DEFAULT 0,
        problem text NOT NULL DEFAULT '',
        not_after timestamptz,
        chain bytea NOT NULL DEFAULT '',       -- PEM
        private_key bytea NOT NULL DEFAULT ''  -- encrypted PEM
    );
    CREATE INDEX certificates_due ON certificates (due_at) WHERE active AND due_at IS NOT NULL;
    CREATE INDEX certificates_ordered ON certificates (ordered_at, tenant_id)
        WHERE ordered_at IS NOT NULL;
    CREATE UNIQUE INDEX certificates_version ON certificates (version) WHERE version > 0;
"""


def upgrade() -> None:
    create_leases_table()
    sql(TABLES)
