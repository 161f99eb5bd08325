"""Mail that was refused because of the installation, and how much of it an operator has seen."""

from kernel.migrate import sql

revision, down_revision = "0023", "0022"


def upgrade() -> None:
    sql("""
        CREATE TABLE infrastructure_bounces (
            day date, bounce_class text,
            count bigint NOT NULL, read_count bigint NOT NULL DEFAULT 0,
            PRIMARY KEY (day, bounce_class)
        );
    """)
