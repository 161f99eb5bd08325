"""What health checks have found last."""

from kernel.migrate import sql

revision, down_revision = "0022", "0021"


def upgrade() -> None:
    sql("""
        CREATE TABLE health_checks (
            name text, subject text, status text NOT NULL,
            since timestamptz NOT NULL DEFAULT now(),  -- of the status
            checked_at timestamptz NOT NULL DEFAULT now(),
            detail text NOT NULL, advice text NOT NULL,
            PRIMARY KEY (name, subject)
        );
    """)
