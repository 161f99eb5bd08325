"""Captured mail is sealed, and forgotten by an index; days are vacuumed before much is dead."""

from kernel.migrate import VACUUM_SOON, day_storage, sql

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    sql("DELETE FROM sandbox")  # what was captured before its bytes were sealed
    sql("CREATE INDEX sandbox_received ON sandbox (received_at)")
    day_storage("attempts", f"fillfactor=60, {VACUUM_SOON}")
