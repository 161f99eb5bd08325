"""An index of the events of suppressions, to remove an address from them."""

from kernel.migrate import sql

revision, down_revision = "0020", "0019"


def upgrade() -> None:
    sql("""
        CREATE INDEX unpartitioned_log_suppressions ON unpartitioned_log (tenant_id, position)
            WHERE kind = 12;  -- domain.log_event.EventKind.SUPPRESSION
    """)
