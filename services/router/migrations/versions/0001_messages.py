"""Messages by day, queues, counters, freed capacity, suppressions, strikes, pools and sources."""

from kernel.migrate import (
    create_leases_table,
    create_outbox_table,
    day_partitioned,
    enforce_tenant_rls,
    grant_tenant,
    sql,
)

revision = "0001"
down_revision = None

MESSAGES = """
CREATE TABLE messages (
    message_id uuid NOT NULL PRIMARY KEY,
    tenant_id uuid NOT NULL,
    email_id uuid NOT NULL,
    cell text NOT NULL,
    queue_id text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL DEFAULT '',       -- of its queued, held or terminal state
    due_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    attempt integer NOT NULL DEFAULT 0,    -- number of the last assignment
    attempt_count integer NOT NULL DEFAULT 0, -- attempts that use up the retry schedule
    egress_id text NOT NULL DEFAULT '',
    assigned_at timestamptz,
    not_after timestamptz,
    republish_at timestamptz,
    republish_count integer NOT NULL DEFAULT 0,
    assignment bytea,                      -- DeliveryAssigned without its context, to publish again
    ambiguous boolean NOT NULL DEFAULT false,
    test boolean NOT NULL DEFAULT false,
    address_hash bytea NOT NULL,
    reply bytea,                           -- the last contracts.delivery.v1.Reply
    bounce_class text NOT NULL DEFAULT '',
    closed_at timestamptz,                 -- set exactly when the state is terminal
    context bytea NOT NULL                 -- contracts.ingest.v1.MessageContext
) PARTITION BY RANGE (message_id);
CREATE INDEX messages_queued ON messages (queue_id, due_at) WHERE state = 'queued';
CREATE INDEX messages_assigned ON messages (cell, republish_at) WHERE state = 'assigned';
CREATE INDEX messages_idle ON messages (cell, expires_at)
    WHERE state IN ('queued', 'held', 'expected');
"""

QUEUES = """
CREATE TABLE queues (
    queue_id text PRIMARY KEY,
    tenant_id uuid NOT NULL,
    cell text NOT NULL,
    site text NOT NULL,
    next_at timestamptz,                   -- when it has work; NULL: empty, or blocked
    version bigint NOT NULL DEFAULT 1,     -- raised when work is added
    blocked_by text NOT NULL DEFAULT '',   -- the scope without capacity, which will unblock it
    blocked_at timestamptz,
    available_at timestamptz,              -- when the scope has capacity; NULL: not known
    limited_by text NOT NULL DEFAULT '',
    served_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX queues_active ON queues (cell, next_at)
    WHERE site <> 'unresolved' AND next_at IS NOT NULL;
CREATE INDEX queues_by_tenant ON queues (cell, tenant_id, next_at)
    WHERE site <> 'unresolved' AND next_at IS NOT NULL;
CREATE INDEX queues_unresolved ON queues (cell, next_at)
    WHERE site = 'unresolved' AND next_at IS NOT NULL;
CREATE INDEX queues_blocked ON queues (cell, blocked_by, blocked_at) WHERE blocked_by <> '';
"""

SCHEDULER = """
CREATE TABLE counters (
    cell text, scope text, window_key text, value bigint NOT NULL, expires_at timestamptz NOT NULL,
    PRIMARY KEY (cell, scope, window_key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE TABLE freed_capacity (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cell text NOT NULL,
    entries jsonb NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE TABLE dropped_days (day date PRIMARY KEY);  -- partitions that were dropped
"""

SUPPRESSIONS = """
CREATE TABLE suppressions (
    tenant_id uuid, address_hash bytea,
    id uuid NOT NULL, address text NOT NULL, origin text NOT NULL, source_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, address_hash)
);
CREATE UNIQUE INDEX suppressions_by_id ON suppressions (tenant_id, id);
CREATE TABLE bounce_strikes (
    event_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL, address_hash bytea NOT NULL, kind text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX bounce_strikes_by_address
    ON bounce_strikes (tenant_id, address_hash, kind, created_at);
"""

DIRECTORY = """
CREATE TABLE pools (
    pool_id uuid PRIMARY KEY, version bigint NOT NULL DEFAULT 1,
    deleted boolean NOT NULL DEFAULT false,
    name text NOT NULL UNIQUE, cell text NOT NULL DEFAULT 'default'
);
CREATE TABLE egress_sources (
    egress_id uuid PRIMARY KEY, version bigint NOT NULL DEFAULT 1,
    deleted boolean NOT NULL DEFAULT false, pool_id uuid NOT NULL REFERENCES pools,
    source_ip text NOT NULL DEFAULT '',    -- empty: the default route of the machine
    ehlo text NOT NULL DEFAULT '',         -- empty: ROUTER_EHLO
    paused boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX egress_sources_by_ip ON egress_sources (source_ip) WHERE NOT deleted;
INSERT INTO pools (pool_id, name) VALUES ('00000000-0000-7000-8000-000000000001', 'default');
INSERT INTO egress_sources (egress_id, pool_id) VALUES
    ('00000000-0000-7000-8000-000000000002', '00000000-0000-7000-8000-000000000001');
"""


def upgrade() -> None:
    create_outbox_table()
    create_leases_table()
    for statements in (MESSAGES, QUEUES, SCHEDULER, SUPPRESSIONS, DIRECTORY):
        sql(statements)
    day_partitioned("messages", storage="fillfactor=60")
    enforce_tenant_rls("messages", grant="SELECT, INSERT, UPDATE")
    enforce_tenant_rls("queues", grant="SELECT, INSERT, UPDATE")
    enforce_tenant_rls("suppressions")
    enforce_tenant_rls("bounce_strikes", grant="SELECT, DELETE")
    grant_tenant("outbox", "INSERT, SELECT (id)")
