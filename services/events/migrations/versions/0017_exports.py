"""Exports: files of events or emails, in sealed parts that are written in the background."""

from kernel.migrate import add_account_rls, enforce_tenant_rls, sql

revision, down_revision = "0017", "0016b"

EXPORTS = """
    CREATE TABLE exports (
        id uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        tenant_id uuid,                    -- NULL: all tenants of the account
        test boolean NOT NULL,
        kind text NOT NULL,
        format text NOT NULL,
        filter bytea NOT NULL,             -- ExportFilter
        key bytea,                         -- of the parts, encrypted; NULL: deleted
        next uuid,                         -- where the next page begins; NULL: the newest row
        row_count bigint NOT NULL DEFAULT 0,
        octets bigint NOT NULL DEFAULT 0,
        part_count integer NOT NULL DEFAULT 0,
        truncated boolean NOT NULL DEFAULT false,
        reached_at timestamptz,
        turn_at timestamptz NOT NULL,
        tries smallint NOT NULL DEFAULT 0,
        failure text NOT NULL DEFAULT '',
        finished_at timestamptz,
        deleted_at timestamptz
    );
    CREATE INDEX exports_of_account ON exports (account_id, id);
    CREATE INDEX exports_of_tenant ON exports (tenant_id, id) WHERE tenant_id IS NOT NULL;
    CREATE INDEX exports_turn ON exports (turn_at)
        WHERE finished_at IS NULL AND deleted_at IS NULL;
    CREATE INDEX exports_finished ON exports (finished_at)
        WHERE finished_at IS NOT NULL AND deleted_at IS NULL;
    CREATE INDEX exports_deleted ON exports (deleted_at) WHERE deleted_at IS NOT NULL;
    CREATE TABLE export_parts (
        export_id uuid,
        number integer,
        account_id uuid NOT NULL,
        tenant_id uuid,
        body bytea NOT NULL,
        PRIMARY KEY (export_id, number)
    );
    ALTER TABLE export_parts ALTER COLUMN body SET STORAGE EXTERNAL;  -- it is compressed
"""


def upgrade() -> None:
    sql(EXPORTS)
    enforce_tenant_rls("exports", grant="SELECT, INSERT, UPDATE")
    enforce_tenant_rls("export_parts", grant="SELECT")
    for table in ("exports", "export_parts"):
        add_account_rls(table)
