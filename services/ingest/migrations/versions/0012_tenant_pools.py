"""The egress pool of each tenant: which pools an account uses, and whose a pool is."""

import sqlalchemy as sa
from alembic import op

from contracts.ingest.v1.directory_pb2 import Tenant
from kernel.migrate import sql

revision, down_revision = "0012", "0011"


# Without a pool, a tenant has the default one.
def upgrade() -> None:
    sql("""
        ALTER TABLE tenants ADD COLUMN pool_id uuid;
        CREATE INDEX tenants_of_pool ON tenants (pool_id, account_id, id) WHERE NOT deleted;
        CREATE INDEX tenants_pools_of_account ON tenants (account_id, pool_id) WHERE NOT deleted;
    """)
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT id, record FROM tenants"))
    pools = [(row_id, Tenant.FromString(record).pool_id) for row_id, record in rows]
    if found := [{"id": row_id, "pool": pool_id} for row_id, pool_id in pools if pool_id]:
        connection.execute(sa.text("UPDATE tenants SET pool_id = :pool WHERE id = :id"), found)
