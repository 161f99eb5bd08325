"""What public events are searched by. Internal events have none of it, so that they cost nothing
more. Earlier events are not found."""

from kernel.migrate import sql

revision, down_revision = "0015", "0014b"

COLUMNS = """
    ALTER TABLE {table}
        ADD COLUMN type smallint,          -- domain.search_columns.TYPE_NUMBERS
        ADD COLUMN test boolean,
        ADD COLUMN email_id uuid,
        ADD COLUMN account_id uuid,        -- NULL until it is known: see AccountBackfill
        ADD COLUMN recipient text,         -- in lower case
        ADD COLUMN site text,              -- of the receiving server
        ADD COLUMN bounce_class text;
    CREATE INDEX {table}_of_account ON {table} (account_id, position)
        WHERE public_seq > 0 AND account_id IS NOT NULL;
    CREATE INDEX {table}_without_account ON {table} (email_id)
        WHERE account_id IS NULL AND email_id IS NOT NULL;
"""


def upgrade() -> None:
    for table in ("log", "unpartitioned_log"):
        sql(COLUMNS.format(table=table))
