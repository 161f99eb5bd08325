"""The checks of domains by DNS: what was found, and when the next check is due."""

from kernel.migrate import sql

revision, down_revision = "0006", "0005"


def upgrade() -> None:
    sql(
        "CREATE TABLE domain_checks ("
        " domain_id uuid PRIMARY KEY REFERENCES domains, due_at timestamptz, state bytea NOT NULL)"
    )
    sql("CREATE INDEX domain_checks_due ON domain_checks (due_at) WHERE due_at IS NOT NULL")
