"""Lanes by tenant: those that wait for DNS, and the pages that a tenant asks for."""

from kernel.migrate import sql

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    sql("""
        CREATE INDEX lanes_resolving_tenants ON lanes (cell, tenant_id, next_at)
            WHERE site = 'resolving' AND next_at IS NOT NULL;
        CREATE INDEX lanes_listed ON lanes (tenant_id, lane);
    """)
