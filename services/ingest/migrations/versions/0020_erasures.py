"""Erasures of recipients: what is still to be removed, and for whom."""

from kernel.migrate import add_account_rls, enforce_tenant_rls, sql

revision, down_revision = "0020", "0019"


# Without tenant_id, for all tenants of the account. The address is encrypted; it is gone after the
# last pass.
def upgrade() -> None:
    sql("""
        CREATE TABLE erasures (
            id uuid PRIMARY KEY, account_id uuid NOT NULL, tenant_id uuid,
            address bytea, messages integer NOT NULL DEFAULT 0,
            created_at timestamptz NOT NULL DEFAULT now(),
            due_at timestamptz,                -- of the next pass; NULL: none
            completed_at timestamptz
        );
        CREATE INDEX erasures_due ON erasures (due_at) WHERE due_at IS NOT NULL;
        CREATE INDEX erasures_of_tenant ON erasures (tenant_id, id);
        CREATE INDEX erasures_of_account ON erasures (account_id, id);
        CREATE INDEX audit_log_suppressions ON audit_log (account_id, id)
            WHERE resource = 'suppression';
    """)
    enforce_tenant_rls("erasures", grant="SELECT")
    add_account_rls("erasures")
