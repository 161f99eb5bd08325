"""Indexes of queues by tenant: queues that wait for DNS, and the pages of a list."""

from kernel.migrate import sql

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    sql("""
        CREATE INDEX queues_unresolved_by_tenant ON queues (cell, tenant_id, next_at)
            WHERE site = 'unresolved' AND next_at IS NOT NULL;
        CREATE INDEX queues_listed ON queues (tenant_id, queue_id);
    """)
