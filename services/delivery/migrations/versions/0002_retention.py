"""Seal captured mail, index it for its retention, and vacuum day partitions early."""

from kernel.migrate import VACUUM_SOON, day_storage, sql

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    sql("DELETE FROM sandbox")  # captured before messages were sealed
    sql("CREATE INDEX sandbox_received ON sandbox (received_at)")
    day_storage("attempts", f"fillfactor=60, {VACUUM_SOON}")
