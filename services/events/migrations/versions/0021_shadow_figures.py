"""Figures of messages about which a second model says something else than the live one."""

from kernel.migrate import sql

revision, down_revision = "0021", "0020"

COUNTERS = ("would_hold", "would_pass")


def upgrade() -> None:
    for name in COUNTERS:
        sql(f"ALTER TABLE stats_deltas ADD {name} bigint")
        for span in ("hour", "day"):
            sql(f"ALTER TABLE stats_{span} ADD {name} bigint NOT NULL DEFAULT 0")
