"""Counts for TLS reports, and the lease of who sends them."""

from kernel.migrate import create_leases_table, sql

revision, down_revision = "0005", "0004"


def upgrade() -> None:
    create_leases_table()
    sql("""
        CREATE TABLE tls_results (
            day date NOT NULL,        -- in UTC
            domain text NOT NULL,     -- of the recipients
            digest bytea NOT NULL,    -- SHA-256 of policy and failure
            policy text NOT NULL,     -- JSON
            failure text NOT NULL,    -- JSON; null: successful sessions
            sessions bigint NOT NULL,
            PRIMARY KEY (day, domain, digest)
        );
    """)
