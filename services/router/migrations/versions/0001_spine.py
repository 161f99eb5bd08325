"""Messages by day, lanes, counters, results, suppressions, feedback, pools and egresses."""

from kernel.migrate import day_partitioned, grant_api, leases, outbox, sql, tenant_rows

revision = "0001"
down_revision = None

MESSAGES = """
CREATE TABLE messages (
    message_id uuid NOT NULL PRIMARY KEY,
    tenant_id uuid NOT NULL,
    email_id uuid NOT NULL,
    cell text NOT NULL,
    lane text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL DEFAULT '',       -- why it waits, or why it was closed
    due_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    attempt integer NOT NULL DEFAULT 0,    -- the serial of assignments
    tries integer NOT NULL DEFAULT 0,      -- answered attempts
    egress_id text NOT NULL DEFAULT '',
    assigned_at timestamptz,
    not_after timestamptz,
    ask_at timestamptz,
    asks integer NOT NULL DEFAULT 0,
    assignment bytea,                      -- DeliveryAssigned without its envelope, to ask again
    ambiguous boolean NOT NULL DEFAULT false,
    test boolean NOT NULL DEFAULT false,
    address_hash bytea NOT NULL,
    reply bytea,                           -- the last contracts.delivery.v1.Reply
    bounce_class text NOT NULL DEFAULT '',
    closed_at timestamptz,                 -- set exactly when the state is final
    envelope bytea NOT NULL                -- contracts.ingest.v1.Envelope
) PARTITION BY RANGE (message_id);
CREATE INDEX messages_waiting ON messages (lane, due_at) WHERE state = 'waiting';
CREATE INDEX messages_assigned ON messages (cell, ask_at) WHERE state = 'assigned';
CREATE INDEX messages_idle ON messages (cell, expires_at)
    WHERE state IN ('waiting', 'held', 'expected');
"""

LANES = """
CREATE TABLE lanes (
    lane text PRIMARY KEY,
    tenant_id uuid NOT NULL,
    cell text NOT NULL,
    site text NOT NULL,
    next_at timestamptz,                   -- when it has work; NULL: shut, or in a ring
    version bigint NOT NULL DEFAULT 1,     -- raised by whoever gives it work
    ring text NOT NULL DEFAULT '',         -- the shared scope that refused it and will wake it
    ring_at timestamptz,
    release_at timestamptz,                -- when the binding constraint lets go, as far as known
    binding text NOT NULL DEFAULT '',
    served_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX lanes_open ON lanes (cell, next_at)
    WHERE site <> 'resolving' AND next_at IS NOT NULL;
CREATE INDEX lanes_tenants ON lanes (cell, tenant_id, next_at)
    WHERE site <> 'resolving' AND next_at IS NOT NULL;
CREATE INDEX lanes_resolving ON lanes (cell, next_at)
    WHERE site = 'resolving' AND next_at IS NOT NULL;
CREATE INDEX lanes_ring ON lanes (cell, ring, ring_at) WHERE ring <> '';
"""

OWNER = """
CREATE TABLE counters (
    cell text, scope text, window_key text, value bigint NOT NULL, expires_at timestamptz NOT NULL,
    PRIMARY KEY (cell, scope, window_key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE TABLE results (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cell text NOT NULL,
    outcomes jsonb NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE TABLE forgotten (day date PRIMARY KEY);  -- partitions that were dropped
"""

FEEDBACK = """
CREATE TABLE suppressions (
    tenant_id uuid, address_hash bytea,
    id uuid NOT NULL, address text NOT NULL, origin text NOT NULL, source_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, address_hash)
);
CREATE UNIQUE INDEX suppressions_by_id ON suppressions (tenant_id, id);
CREATE TABLE feedback (
    event_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL, address_hash bytea NOT NULL, kind text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX feedback_strikes ON feedback (tenant_id, address_hash, kind, created_at);
"""

DIRECTORY = """
CREATE TABLE pools (
    pool_id uuid PRIMARY KEY, version bigint NOT NULL DEFAULT 1,
    deleted boolean NOT NULL DEFAULT false,
    name text NOT NULL UNIQUE, cell text NOT NULL DEFAULT 'default'
);
CREATE TABLE egresses (
    egress_id uuid PRIMARY KEY, version bigint NOT NULL DEFAULT 1,
    deleted boolean NOT NULL DEFAULT false, pool_id uuid NOT NULL REFERENCES pools,
    source_ip text NOT NULL DEFAULT '',    -- empty: the default route of the machine
    ehlo text NOT NULL DEFAULT '',         -- empty: ROUTER_EHLO
    paused boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX egresses_addresses ON egresses (source_ip) WHERE NOT deleted;
INSERT INTO pools (pool_id, name) VALUES ('00000000-0000-7000-8000-000000000001', 'default');
INSERT INTO egresses (egress_id, pool_id) VALUES
    ('00000000-0000-7000-8000-000000000002', '00000000-0000-7000-8000-000000000001');
"""


def upgrade() -> None:
    outbox()
    leases()
    for statements in (MESSAGES, LANES, OWNER, FEEDBACK, DIRECTORY):
        sql(statements)
    day_partitioned("messages", storage="fillfactor=60")
    tenant_rows("messages", grant="SELECT, INSERT, UPDATE")
    tenant_rows("lanes", grant="SELECT, INSERT, UPDATE")
    tenant_rows("suppressions")
    tenant_rows("feedback", grant="SELECT, DELETE")
    grant_api("outbox", "INSERT, SELECT (id)")
