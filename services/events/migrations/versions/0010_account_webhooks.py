"""Webhook endpoints of accounts, which receive the events of all their tenants."""

from kernel.migrate import schema, sql

revision, down_revision = "0010", "0007"

WEBHOOKS = """
    ALTER TABLE webhooks RENAME COLUMN tenant_id TO owner_id;  -- the tenant, or the account
    ALTER TABLE webhooks
        ADD COLUMN account_wide boolean NOT NULL DEFAULT false,  -- the owner is an account
        ADD COLUMN tenant_ids uuid[] NOT NULL DEFAULT '{{}}';    -- whose events; empty: all
    ALTER TABLE webhook_deliveries RENAME COLUMN tenant_id TO owner_id;  -- of the endpoint
    CREATE POLICY account_wide ON webhooks FOR SELECT TO {schema}_tenant USING (
        account_wide AND owner_id = nullif(current_setting('app.account_id', true), '')::uuid);
"""


def upgrade() -> None:
    sql(WEBHOOKS.format(schema=schema()))
