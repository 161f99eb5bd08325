"""Keys of accounts and operators, lists by account, ids of the customer, and the audit log."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Tenant
from kernel.migrate import add_account_rls, enforce_tenant_rls, sql

revision, down_revision = "0007", "0006"

# account_id of api_keys is empty for the keys of operators, tenant_id for those of accounts too.
COLUMNS = """
    ALTER TABLE accounts ADD COLUMN deleted boolean NOT NULL DEFAULT false;
    ALTER TABLE tenants ADD COLUMN deleted boolean NOT NULL DEFAULT false,
        ADD COLUMN external_id text NOT NULL DEFAULT '';
    ALTER TABLE api_keys ADD COLUMN deleted boolean NOT NULL DEFAULT false,
        ADD COLUMN test boolean NOT NULL DEFAULT false,
        ADD COLUMN account_id uuid REFERENCES accounts, ADD COLUMN last_used_at timestamptz,
        ADD COLUMN rotated_from uuid,
        ALTER COLUMN tenant_id DROP NOT NULL;
    UPDATE api_keys SET account_id = tenants.account_id FROM tenants
        WHERE tenants.id = api_keys.tenant_id;
    DROP INDEX tenants_of_account;
    CREATE INDEX tenants_of_account ON tenants (account_id, id) WHERE NOT deleted;
    DROP INDEX api_keys_of_tenant;
    CREATE INDEX api_keys_of_tenant ON api_keys (tenant_id, id) WHERE NOT deleted;
    CREATE INDEX api_keys_of_account ON api_keys (account_id, id) WHERE NOT deleted;
    CREATE INDEX api_keys_rotated_from ON api_keys (rotated_from) WHERE rotated_from IS NOT NULL;
    CREATE UNIQUE INDEX tenants_external_id ON tenants (account_id, external_id)
        WHERE external_id <> '' AND NOT deleted;
"""

# before and after are the records without their secrets. The id is a UUIDv7: its time is that of
# the act.
AUDIT_LOG = """
    CREATE TABLE audit_log (
        id uuid PRIMARY KEY, account_id uuid, tenant_id uuid,
        actor_kind text NOT NULL, actor_id text NOT NULL, action text NOT NULL,
        resource text NOT NULL, resource_id uuid NOT NULL, before jsonb, after jsonb,
        request_id text NOT NULL, client text NOT NULL
    );
    CREATE INDEX audit_log_account ON audit_log (account_id, id);
"""
# Columns that only the records have so far.
FLAGS: Mapping[str, tuple[Any, Sequence[str]]] = {
    "accounts": (Account, ["deleted"]),
    "tenants": (Tenant, ["deleted"]),
    "api_keys": (ApiKey, ["deleted", "test"]),
}


def upgrade() -> None:
    sql(COLUMNS)
    for table, (kind, flags) in FLAGS.items():
        for flag in flags:
            set_flag(table, kind, flag)
    sql(AUDIT_LOG)
    enforce_tenant_rls("audit_log", grant="SELECT")
    for table in ("tenants", "api_keys", "domains", "audit_log"):
        add_account_rls(table)


def set_flag(table: str, kind: Any, flag: str) -> None:  # noqa: ANN401 - a message
    connection = op.get_bind()
    rows = connection.execute(sa.text(f"SELECT id, record FROM {table}"))  # noqa: S608
    found = [{"id": row_id} for row_id, record in rows if getattr(kind.FromString(record), flag)]
    if found:
        connection.execute(sa.text(f"UPDATE {table} SET {flag} = true WHERE id = :id"), found)  # noqa: S608
