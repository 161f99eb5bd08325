"""Days of the log of which only the mail of some accounts is left."""

from kernel.migrate import sql

revision, down_revision = "0016", "0014e"


def upgrade() -> None:
    sql("""
        CREATE TABLE kept_days (
            day date PRIMARY KEY,
            accounts uuid[] NOT NULL           -- whose mail is left
        );
    """)
