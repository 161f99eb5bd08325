"""Saved reports: queries of figures that are answered for each day, week or month."""

from kernel.migrate import add_account_rls, enforce_tenant_rls, sql

revision, down_revision = "0018", "0017"

REPORTS = """
    CREATE TABLE reports (
        id uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        tenant_id uuid,                    -- NULL: all tenants of the account
        name text NOT NULL,
        query bytea NOT NULL,              -- GetMetricsRequest
        frequency text NOT NULL,
        timezone text NOT NULL,
        webhook boolean NOT NULL,
        email boolean NOT NULL,
        next_end timestamptz NOT NULL,     -- of the period that is reported next
        last_end timestamptz,
        turn_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX reports_of_account ON reports (account_id, id);
    CREATE INDEX reports_of_owner ON reports (coalesce(tenant_id, account_id));
    CREATE INDEX reports_due ON reports (next_end);
    CREATE TABLE report_mails (
        report_id uuid REFERENCES reports ON DELETE CASCADE,
        period_end timestamptz,
        account_id uuid NOT NULL,
        tenant_id uuid,
        event bytea NOT NULL,              -- ReportReady
        created_at timestamptz NOT NULL DEFAULT now(),
        due_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (report_id, period_end)
    );
    CREATE INDEX report_mails_due ON report_mails (due_at);
"""


def upgrade() -> None:
    sql(REPORTS)
    enforce_tenant_rls("reports", grant="SELECT, INSERT, DELETE")
    enforce_tenant_rls("report_mails", grant="SELECT")
    for table in ("reports", "report_mails"):
        add_account_rls(table)
