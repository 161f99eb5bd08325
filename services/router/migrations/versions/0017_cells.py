"""Cells, and the pool in whose cell a tenant is counted."""

from kernel.migrate import sql

revision, down_revision = "0017", "0016"

# revision: raised when the owner must read the cell again. moves_to: the cell that a pool is to
# move to; NULL: it stays.
STATEMENTS = """
CREATE TABLE cells (
    cell text PRIMARY KEY, position smallint NOT NULL UNIQUE, revision bigint NOT NULL DEFAULT 1
);
INSERT INTO cells (cell, position) VALUES ('default', 0);
CREATE TABLE tenant_pools (tenant_id uuid PRIMARY KEY, pool_id uuid NOT NULL);
CREATE INDEX tenant_pools_by_pool ON tenant_pools (pool_id);
ALTER TABLE pools ADD moves_to text REFERENCES cells;
"""


def upgrade() -> None:
    sql(STATEMENTS)
