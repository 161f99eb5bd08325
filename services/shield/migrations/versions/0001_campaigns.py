"""Campaigns, the index that finds them, and what was learned from them."""

from kernel.migrate import (
    create_leases_table,
    create_outbox_table,
    enforce_tenant_rls,
    grant_tenant,
    sql,
)

revision, down_revision = "0001", None


def upgrade() -> None:
    create_outbox_table()
    create_leases_table()
    sql("""
        CREATE TABLE campaigns (
            campaign_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            fingerprint bytea NOT NULL,    -- contracts.shield.v1.Fingerprint
            screened bigint NOT NULL DEFAULT 0,
            screened_on date NOT NULL DEFAULT CURRENT_DATE,
            delivered bigint NOT NULL DEFAULT 0,
            complained float8 NOT NULL DEFAULT 0, -- as complaints are weighed
            assessed bytea                 -- the last contracts.shield.v1.CampaignAssessed
        ) WITH (fillfactor = 70);
        CREATE INDEX campaigns_by_tenant ON campaigns (tenant_id, campaign_id DESC);
        CREATE INDEX campaigns_by_day ON campaigns (screened_on);

        -- Keys of the first message of each campaign: one with the same key may be a copy.
        CREATE TABLE campaign_keys (
            tenant_id uuid,
            key text,
            campaign_id uuid NOT NULL REFERENCES campaigns ON DELETE CASCADE,
            PRIMARY KEY (tenant_id, key)
        );
        CREATE INDEX campaign_keys_by_campaign ON campaign_keys (campaign_id);

        CREATE TABLE learner (
            name text PRIMARY KEY,
            next_offset bigint NOT NULL,   -- of the first outcome that the state does not know
            state bytea NOT NULL,
            saved_at timestamptz NOT NULL DEFAULT now()
        );

        CREATE TABLE learned_versions (
            number bigint PRIMARY KEY,     -- the offset of the first outcome that it does not know
            version text NOT NULL,
            published bytea NOT NULL,      -- contracts.shield.v1.ModelPublished
            tables bytea NOT NULL,
            published_at timestamptz NOT NULL DEFAULT now()
        );
    """)
    enforce_tenant_rls("campaigns", grant="SELECT")
    enforce_tenant_rls("campaign_keys", grant="SELECT")
    grant_tenant("learned_versions", "SELECT (number, version, published, published_at)")
