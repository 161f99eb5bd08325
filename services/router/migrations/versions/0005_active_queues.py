"""Active queues have their own indexes, so that those with later work cost nothing. Results replace
freed capacity. Queues that were blocked are checked again, because the names of scopes changed."""

from kernel.migrate import sql

revision, down_revision = "0005", "0004"


def upgrade() -> None:
    sql("""
        ALTER TABLE queues ADD COLUMN active boolean NOT NULL DEFAULT false;
        UPDATE queues SET next_at = now(), blocked_by = '', blocked_at = NULL, limited_by = '',
            available_at = NULL WHERE blocked_by <> '';
        UPDATE queues SET active = true WHERE next_at <= now();
        DROP INDEX queues_active, queues_by_tenant;
        CREATE INDEX queues_active ON queues (cell, next_at)
            WHERE active AND site <> 'unresolved';
        CREATE INDEX queues_by_tenant ON queues (cell, tenant_id, next_at)
            WHERE active AND site <> 'unresolved';
        CREATE INDEX queues_due_later ON queues (cell, next_at)
            WHERE NOT active AND next_at IS NOT NULL AND site <> 'unresolved';
        DELETE FROM counters WHERE window_key = 'rate';
        DROP TABLE freed_capacity;
        CREATE TABLE results (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            cell text NOT NULL,
            entries bytea NOT NULL             -- contracts.router.v1.Results
        ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
    """)
