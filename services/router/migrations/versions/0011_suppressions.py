"""Suppressions with a reason, a list and an expiry, and those of whole accounts; the lists of
messages."""

from kernel.migrate import grant_tenant, schema, sql

revision, down_revision = "0011", "0010"

SUPPRESSIONS = """
ALTER TABLE suppressions RENAME COLUMN tenant_id TO owner_id;  -- the tenant, or the account
ALTER TABLE suppressions
    ADD COLUMN account_wide boolean NOT NULL DEFAULT false,    -- the owner is an account
    ADD COLUMN list text NOT NULL DEFAULT '',                  -- empty: all mail
    ADD COLUMN reason text NOT NULL DEFAULT '',
    ADD COLUMN note text NOT NULL DEFAULT '',
    ADD COLUMN expires_at timestamptz NOT NULL DEFAULT 'infinity',
    DROP CONSTRAINT suppressions_pkey,
    ADD PRIMARY KEY (owner_id, address_hash, list),
    NO FORCE ROW LEVEL SECURITY;
UPDATE suppressions SET origin = 'bounce' WHERE origin = 'hard_bounce';
ALTER TABLE suppressions FORCE ROW LEVEL SECURITY;
CREATE INDEX suppressions_by_origin ON suppressions (owner_id, origin, id);
CREATE INDEX suppressions_by_domain ON suppressions (owner_id, split_part(address, '@', -1), id);
CREATE INDEX suppressions_by_list ON suppressions (owner_id, list, id) WHERE list <> '';
CREATE INDEX suppressions_expiring ON suppressions (expires_at) WHERE expires_at < 'infinity';
"""
ACCOUNT_WIDE = """
CREATE POLICY account_wide ON suppressions TO {schema}_tenant
    USING (account_wide AND owner_id = nullif(current_setting('app.account_id', true), '')::uuid)
    WITH CHECK (
        account_wide AND owner_id = nullif(current_setting('app.account_id', true), '')::uuid);
"""
# Of a broadcast: which suppressions of lists concern it.
MESSAGES = "ALTER TABLE messages ADD COLUMN list text NOT NULL DEFAULT ''"


def upgrade() -> None:
    sql(SUPPRESSIONS)
    sql(ACCOUNT_WIDE.format(schema=schema()))
    sql(MESSAGES)
    grant_tenant("bounce_strikes", "UPDATE (kind)")
