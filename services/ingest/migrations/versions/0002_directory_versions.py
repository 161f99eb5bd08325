"""Indexes for publishing the directory by version; day partitions are vacuumed early."""

from kernel.migrate import VACUUM_SOON, day_storage, sql

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    for table in ("accounts", "tenants", "api_keys", "domains"):
        sql(f"CREATE INDEX {table}_version ON {table} (version)")
    day_storage("messages", f"fillfactor=80, {VACUUM_SOON}")
