"""Filters of webhook endpoints besides the type, and the header fields of their requests."""

from kernel.migrate import sql

revision, down_revision = "0014d", "0013"


def upgrade() -> None:
    sql("""
        ALTER TABLE webhooks
            ADD COLUMN domain_ids uuid[] NOT NULL DEFAULT '{}',  -- of the sender; empty: all
            ADD COLUMN tags text[] NOT NULL DEFAULT '{}',        -- name, or name:value
            ADD COLUMN streams text[] NOT NULL DEFAULT '{}',
            ADD COLUMN svix_headers boolean NOT NULL DEFAULT false,
            ADD COLUMN headers bytea                             -- encrypted JSON; NULL: none
    """)
