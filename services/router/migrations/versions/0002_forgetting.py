"""What is forgotten is found by an index; days are vacuumed before much is dead."""

from kernel.migrate import VACUUM_SOON, day_storage, sql

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    sql("""
        CREATE INDEX counters_expiry ON counters (cell, expires_at);
        CREATE INDEX lanes_empty ON lanes (cell, served_at) WHERE next_at IS NULL AND ring = '';
        CREATE INDEX feedback_created ON feedback (created_at);
    """)
    day_storage("messages", f"fillfactor=60, {VACUUM_SOON}")
