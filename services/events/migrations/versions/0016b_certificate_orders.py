"""Each order of a certificate: a host can be ordered several times in an hour."""

from kernel.migrate import sql

revision, down_revision = "0016b", "0016"


def upgrade() -> None:
    sql("""
        CREATE TABLE certificate_orders (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            ordered_at timestamptz NOT NULL,  -- of the last hour
            tenant_id uuid NOT NULL,
            host text NOT NULL
        );
        CREATE INDEX certificate_orders_by_time ON certificate_orders (ordered_at);
        INSERT INTO certificate_orders (ordered_at, tenant_id, host)
            SELECT ordered_at, tenant_id, host FROM certificates
            WHERE ordered_at > now() - interval '1 hour';
        ALTER TABLE certificates DROP COLUMN ordered_at;
    """)
