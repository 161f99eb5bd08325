"""Vacuum day partitions early."""

from kernel.migrate import VACUUM_SOON, day_storage

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    day_storage("state", f"fillfactor=50, {VACUUM_SOON}")
