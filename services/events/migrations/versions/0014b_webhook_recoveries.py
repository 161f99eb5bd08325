"""Recoveries: what an endpoint has missed is sent again, page by page."""

from kernel.migrate import enforce_tenant_rls, sql

revision, down_revision = "0014b", "0014"

RECOVERIES = """
    CREATE TABLE webhook_recoveries (
        endpoint_id uuid PRIMARY KEY REFERENCES webhooks ON DELETE CASCADE,
        owner_id uuid NOT NULL,            -- of the endpoint
        since timestamptz NOT NULL,
        until timestamptz NOT NULL,
        event_types text[] NOT NULL,       -- empty: all that the endpoint subscribes to
        created_at timestamptz NOT NULL DEFAULT now(),
        due_at timestamptz NOT NULL,       -- of the next page
        tenant_id uuid,                    -- whose events are read; NULL: none were read yet
        position uuid NOT NULL,            -- the last event of this tenant that was read
        recovered integer NOT NULL DEFAULT 0,
        finished_at timestamptz
    );
    CREATE INDEX webhook_recoveries_due ON webhook_recoveries (due_at) WHERE finished_at IS NULL;
"""


def upgrade() -> None:
    sql(RECOVERIES)
    enforce_tenant_rls("webhook_recoveries", column="owner_id", grant="SELECT, INSERT, UPDATE")
