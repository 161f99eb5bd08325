"""Why a message is held, and since when; lists of those that are."""

from kernel.migrate import sql

revision, down_revision = "0016", "0015"

# Screening is the contracts.shield.v1.MessageScreened of a held message, without its context.
STATEMENTS = """
ALTER TABLE messages ADD screening bytea, ADD held_at timestamptz;
CREATE INDEX messages_held ON messages (message_id) WHERE state = 'held';
CREATE INDEX messages_held_of_tenant ON messages (tenant_id, message_id) WHERE state = 'held';
"""


def upgrade() -> None:
    sql(STATEMENTS)
