"""Indexes of rows past their retention; earlier vacuum of day partitions."""

from kernel.migrate import VACUUM_SOON, day_storage, sql

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    sql("""
        CREATE INDEX counters_expiry ON counters (cell, expires_at);
        CREATE INDEX queues_empty ON queues (cell, served_at)
            WHERE next_at IS NULL AND blocked_by = '';
        CREATE INDEX bounce_strikes_created ON bounce_strikes (created_at);
    """)
    day_storage("messages", f"fillfactor=60, {VACUUM_SOON}")
