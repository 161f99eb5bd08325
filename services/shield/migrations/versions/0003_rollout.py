"""Which versions of what was learned are in use, and their history."""

from kernel.migrate import sql

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    sql("""
        ALTER TABLE learned_versions ALTER tables DROP NOT NULL; -- NULL: too old to be used again
        ALTER TABLE learned_versions
            ADD COLUMN changed bytea,  -- the last contracts.shield.v1.ModelVersionChanged
            ADD COLUMN changed_number bigint NOT NULL DEFAULT 0;
        CREATE INDEX learned_versions_by_version ON learned_versions (version);

        CREATE TABLE rollout (
            single boolean PRIMARY KEY DEFAULT true CHECK (single),
            next_offset bigint NOT NULL,  -- of the first outcome that has not decided yet
            live text NOT NULL,           -- a version; empty: the model as it was trained
            shadow text NOT NULL          -- scores beside it; empty: none
        );
    """)
