"""The log, the tables of lists, webhook endpoints and their deliveries.

The rows of a message are in the partition of its id's day, those of an email in that of the email
id's day. No index of `state` has a column that changes, so that its updates are heap-only.
"""

from kernel.migrate import create_outbox_table, day_partitioned, enforce_tenant_rls, sql

revision, down_revision = "0001", None

LOG = """
    CREATE TABLE log (
        subject_id uuid NOT NULL,          -- the message
        event_id uuid NOT NULL,
        position uuid NOT NULL,            -- UUIDv7 of the recording; public id and cursor
        tenant_id uuid NOT NULL,
        kind smallint NOT NULL,            -- domain.log_event.EventKind
        seq integer NOT NULL,              -- 1, 2, … per message, without gaps
        public_seq integer NOT NULL,       -- 1, 2, … per message of public events; 0: internal
        recorded_at timestamptz NOT NULL DEFAULT now(),
        payload bytea NOT NULL,            -- the encoded event
        PRIMARY KEY (subject_id, event_id)
    ) PARTITION BY RANGE (subject_id);
    CREATE INDEX log_public ON log (tenant_id, position) WHERE public_seq > 0;

    CREATE TABLE state (
        email_id uuid NOT NULL,
        subject_id uuid NOT NULL,
        tenant_id uuid NOT NULL,
        recipient text NOT NULL,           -- in lower case, for lists
        domain text NOT NULL,
        seq integer NOT NULL,
        public_seq integer NOT NULL,
        rank smallint NOT NULL,            -- domain.log_event.StatusRank
        closed smallint NOT NULL,          -- router's ClosedState; 0: open
        closed_at timestamptz,
        delayed_at timestamptz,            -- when a delay was last public
        PRIMARY KEY (email_id, subject_id) -- events have both ids, a timeline that of the email
    ) PARTITION BY RANGE (subject_id);
    CREATE INDEX state_recipient ON state (tenant_id, recipient, email_id);
    CREATE INDEX state_domain ON state (tenant_id, domain, email_id);

    CREATE TABLE emails (
        tenant_id uuid NOT NULL,
        email_id uuid NOT NULL,
        message_id uuid NOT NULL,          -- the message whose MessageAccepted is listed
        rank smallint NOT NULL,
        sent boolean NOT NULL,             -- email.sent was public
        PRIMARY KEY (tenant_id, email_id)
    ) PARTITION BY RANGE (email_id);
    CREATE INDEX emails_rank ON emails (tenant_id, rank, email_id);

    CREATE TABLE tags (
        tenant_id uuid NOT NULL,
        tag text NOT NULL,                 -- name, and name:value
        email_id uuid NOT NULL,
        PRIMARY KEY (tenant_id, tag, email_id)
    ) PARTITION BY RANGE (email_id);

    CREATE TABLE unpartitioned_log (
        event_id uuid PRIMARY KEY,
        subject_id uuid NOT NULL,          -- a message that is closed, or a webhook endpoint
        position uuid NOT NULL,
        tenant_id uuid NOT NULL,
        kind smallint NOT NULL,
        seq integer NOT NULL,
        public_seq integer NOT NULL,
        recorded_at timestamptz NOT NULL DEFAULT now(),
        payload bytea NOT NULL
    );
    CREATE INDEX unpartitioned_log_subject ON unpartitioned_log (subject_id);
    CREATE INDEX unpartitioned_log_public ON unpartitioned_log (tenant_id, position)
        WHERE public_seq > 0;
    CREATE INDEX unpartitioned_log_recorded ON unpartitioned_log (recorded_at);
"""

WEBHOOKS = """
    CREATE TABLE webhooks (
        id uuid PRIMARY KEY,
        tenant_id uuid NOT NULL,
        url text NOT NULL,
        event_types text[] NOT NULL,       -- empty: all
        secret bytea NOT NULL,             -- encrypted
        enabled boolean NOT NULL DEFAULT true,
        disabled_reason text NOT NULL DEFAULT '',
        created_at timestamptz NOT NULL DEFAULT now(),
        deleted_at timestamptz,
        failures integer NOT NULL DEFAULT 0,   -- since the last success
        failing_since timestamptz,
        probe_at timestamptz               -- when a failing endpoint may be probed
    );
    CREATE INDEX webhooks_tenant ON webhooks (tenant_id, id) WHERE deleted_at IS NULL;

    CREATE TABLE webhook_deliveries (
        endpoint_id uuid NOT NULL,
        position uuid NOT NULL,            -- of the log entry
        event_id uuid NOT NULL,
        subject_id uuid NOT NULL,
        tenant_id uuid NOT NULL,
        type text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        due_at timestamptz NOT NULL,       -- next attempt; while claimed, the end of the lease
        token uuid,                        -- of the claim
        attempt_count smallint NOT NULL DEFAULT 0,
        state smallint NOT NULL DEFAULT 0, -- queued, delivered, failed
        status smallint NOT NULL DEFAULT 0,
        error text NOT NULL DEFAULT '',
        PRIMARY KEY (endpoint_id, position)
    );
    CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, due_at) WHERE state = 0;
    CREATE INDEX webhook_deliveries_created ON webhook_deliveries USING brin (created_at);
"""


def upgrade() -> None:
    create_outbox_table()
    sql(LOG)
    sql(WEBHOOKS)
    day_partitioned("log")
    day_partitioned("state", storage="fillfactor=50")  # most rows are updated once
    day_partitioned("emails", storage="fillfactor=80")
    day_partitioned("tags")
    for table in ("log", "state", "emails", "tags"):
        enforce_tenant_rls(table, grant="SELECT")
    for table in ("unpartitioned_log", "webhook_deliveries"):
        enforce_tenant_rls(table, grant="SELECT, INSERT")
    enforce_tenant_rls("webhooks", grant="SELECT, INSERT, UPDATE")
