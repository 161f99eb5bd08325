"""Figures of DMARC and TLS reports about domains."""

from kernel.migrate import enforce_tenant_rls, sql

revision, down_revision = "0006", "0005"


def upgrade() -> None:
    sql("""
        CREATE TABLE report_days (
            domain_id uuid NOT NULL,
            kind text NOT NULL,        -- dmarc, tls
            day date NOT NULL,         -- of the begin of the reports, in UTC
            tenant_id uuid NOT NULL,
            reports integer NOT NULL DEFAULT 0,
            rows integer NOT NULL DEFAULT 0,
            passed bigint NOT NULL DEFAULT 0,  -- messages, or sessions
            failed bigint NOT NULL DEFAULT 0,
            PRIMARY KEY (domain_id, kind, day)
        );
        CREATE INDEX report_days_by_day ON report_days (day);

        CREATE TABLE report_rows (
            domain_id uuid NOT NULL,
            kind text NOT NULL,
            day date NOT NULL,
            digest bytea NOT NULL,     -- SHA-256 of the detail
            tenant_id uuid NOT NULL,
            detail text NOT NULL,      -- JSON
            count bigint NOT NULL,
            PRIMARY KEY (domain_id, kind, day, digest)
        );
        CREATE INDEX report_rows_by_day ON report_rows (day);

        CREATE TABLE received_reports (  -- so that each counts once
            domain_id uuid NOT NULL,
            digest bytea NOT NULL,     -- SHA-256 of reporter and report id
            day date NOT NULL,
            PRIMARY KEY (domain_id, digest)
        );
        CREATE INDEX received_reports_by_day ON received_reports (day);
    """)
    enforce_tenant_rls("report_days", grant="SELECT")
    enforce_tenant_rls("report_rows", grant="SELECT")
