"""Imports of suppressions: files whose lines are added in the background."""

from kernel.migrate import enforce_tenant_rls, sql

revision, down_revision = "0011", "0010"


# lines is null until the whole file has arrived. A body is sealed with the tenant's key: that of a
# part has lines to add, that of results the lines that were not added, the last of which is `line`.
def upgrade() -> None:
    sql("""
        CREATE TABLE suppression_imports (
            id uuid PRIMARY KEY, tenant_id uuid NOT NULL, lines integer,
            added integer NOT NULL DEFAULT 0, existing integer NOT NULL DEFAULT 0,
            failed integer NOT NULL DEFAULT 0, ignored_columns text[] NOT NULL DEFAULT '{}',
            turn_at timestamptz NOT NULL DEFAULT now(), tries smallint NOT NULL DEFAULT 0,
            completed_at timestamptz
        );
        CREATE INDEX suppression_imports_of_tenant ON suppression_imports (tenant_id, id);
        CREATE INDEX suppression_imports_open ON suppression_imports (tenant_id)
            WHERE completed_at IS NULL;
        CREATE INDEX suppression_imports_turn ON suppression_imports (turn_at)
            WHERE completed_at IS NULL;
        CREATE INDEX suppression_imports_completed ON suppression_imports (completed_at)
            WHERE completed_at IS NOT NULL;
        CREATE TABLE suppression_import_parts (
            import_id uuid REFERENCES suppression_imports ON DELETE CASCADE, number integer,
            tenant_id uuid NOT NULL, first_line integer NOT NULL, lines integer NOT NULL,
            body bytea NOT NULL, PRIMARY KEY (import_id, number)
        );
        CREATE TABLE suppression_import_results (
            import_id uuid REFERENCES suppression_imports ON DELETE CASCADE, line integer,
            tenant_id uuid NOT NULL, body bytea NOT NULL, PRIMARY KEY (import_id, line)
        );
    """)
    enforce_tenant_rls("suppression_imports")
    enforce_tenant_rls("suppression_import_parts", grant="INSERT")
    enforce_tenant_rls("suppression_import_results", grant="SELECT")
