"""Opens, clicks and unsubscriptions of messages, and how far the spools of hits are read."""

from kernel.migrate import day_partitioned, enforce_tenant_rls, sql

revision, down_revision = "0007", "0006"

TABLES = """
    CREATE TABLE engagement (
        subject_id uuid NOT NULL,          -- the message; in mode anonymous the email
        email_id uuid NOT NULL,
        tenant_id uuid NOT NULL,
        opens integer NOT NULL DEFAULT 0,  -- without those that are certainly a machine's
        clicks integer NOT NULL DEFAULT 0,
        machine_opens integer NOT NULL DEFAULT 0,
        machine_clicks integer NOT NULL DEFAULT 0,
        first_opened_ms bigint NOT NULL DEFAULT 0,  -- Unix time; 0: never
        first_clicked_ms bigint NOT NULL DEFAULT 0,
        unsubscribed_ms bigint NOT NULL DEFAULT 0,
        stored bytea NOT NULL DEFAULT '',  -- domain.engagement.StoredHit, at most 50
        PRIMARY KEY (subject_id)
    ) PARTITION BY RANGE (subject_id);

    CREATE TABLE hit_spools (
        spool_id uuid PRIMARY KEY,
        segment bigint NOT NULL,           -- the hits before this place are recorded
        position bigint NOT NULL,
        read_at timestamptz NOT NULL DEFAULT now()
    );
"""


def upgrade() -> None:
    sql(TABLES)
    day_partitioned("engagement", storage="fillfactor=70")
    enforce_tenant_rls("engagement", grant="SELECT")
