"""Size of the stored content by tenant and last day of the bodies."""

from kernel.migrate import sql

revision, down_revision = "0004", "0003"

CONTENT_USAGE = """
    CREATE TABLE content_usage (
        tenant_id uuid, last_day date, octets bigint NOT NULL, PRIMARY KEY (tenant_id, last_day)
    );
    CREATE INDEX content_usage_last_day ON content_usage (last_day);
"""


def upgrade() -> None:
    sql(CONTENT_USAGE)
