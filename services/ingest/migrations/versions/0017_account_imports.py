"""Imports of suppressions for a whole account, and the account of each import."""

from kernel.migrate import add_account_rls, sql

revision, down_revision = "0017", "0014"

TABLES = ("suppression_imports", "suppression_import_parts", "suppression_import_results")
# key: encrypted. The bodies of an import without a tenant are sealed with it.
IMPORTS = """
    ALTER TABLE suppression_imports ADD COLUMN key bytea;
    DROP INDEX suppression_imports_open;
    CREATE INDEX suppression_imports_of_account ON suppression_imports (account_id, id);
    CREATE INDEX suppression_imports_open ON suppression_imports (coalesce(tenant_id, account_id))
        WHERE completed_at IS NULL;
"""
ACCOUNT = """
    ALTER TABLE {table} ADD COLUMN account_id uuid, NO FORCE ROW LEVEL SECURITY,
        ALTER COLUMN tenant_id DROP NOT NULL;
    UPDATE {table} SET account_id = t.account_id FROM tenants AS t WHERE t.id = tenant_id;
    DELETE FROM {table} WHERE account_id IS NULL;
    ALTER TABLE {table} ALTER COLUMN account_id SET NOT NULL, FORCE ROW LEVEL SECURITY;
"""


def upgrade() -> None:
    sql("ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY")
    for table in TABLES:
        sql(ACCOUNT.format(table=table))
        add_account_rls(table)
    sql("ALTER TABLE tenants FORCE ROW LEVEL SECURITY")
    sql(IMPORTS)
