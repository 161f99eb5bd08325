"""Accounts, tenants, keys, domains; idempotency, emails and their messages."""

from kernel.migrate import (
    create_leases_table,
    create_outbox_table,
    day_partitioned,
    enforce_tenant_rls,
    sql,
)

revision, down_revision = "0001", None

# A directory entry is its protobuf record, with columns for lookups. `published_version` is the
# version that Kafka has acknowledged; an index finds the few entries where it lags.
DIRECTORY = """
    CREATE TABLE accounts (
        id uuid PRIMARY KEY, version bigint NOT NULL,
        published_version bigint NOT NULL DEFAULT 0,
        name text NOT NULL, record bytea NOT NULL
    );
    CREATE TABLE tenants (
        id uuid PRIMARY KEY, version bigint NOT NULL,
        published_version bigint NOT NULL DEFAULT 0,
        account_id uuid NOT NULL REFERENCES accounts, name text NOT NULL, record bytea NOT NULL
    );
    CREATE TABLE api_keys (
        id uuid PRIMARY KEY, version bigint NOT NULL,
        published_version bigint NOT NULL DEFAULT 0,
        tenant_id uuid NOT NULL REFERENCES tenants, secret_sha256 bytea NOT NULL UNIQUE,
        record bytea NOT NULL
    );
    CREATE TABLE domains (
        id uuid PRIMARY KEY, version bigint NOT NULL,
        published_version bigint NOT NULL DEFAULT 0,
        tenant_id uuid NOT NULL REFERENCES tenants, account_id uuid NOT NULL REFERENCES accounts,
        name text NOT NULL, shared boolean NOT NULL, deleted boolean NOT NULL DEFAULT false,
        record bytea NOT NULL
    );
    CREATE UNIQUE INDEX domains_of_tenant ON domains (tenant_id, name) WHERE NOT deleted;
    CREATE UNIQUE INDEX domains_of_account ON domains (account_id, name)
        WHERE shared AND NOT deleted;
    CREATE INDEX tenants_of_account ON tenants (account_id);
    CREATE INDEX api_keys_of_tenant ON api_keys (tenant_id);
    CREATE SEQUENCE directory_version;
    CREATE INDEX accounts_unpublished ON accounts (version) WHERE published_version < version;
    CREATE INDEX tenants_unpublished ON tenants (version) WHERE published_version < version;
    CREATE INDEX api_keys_unpublished ON api_keys (version) WHERE published_version < version;
    CREATE INDEX domains_unpublished ON domains (version) WHERE published_version < version;
"""

# `accepted` is the MessageAccepted of an email's first message; those of the others differ in id,
# recipient and return path only, so all of them can be rebuilt from it.
EMAILS = """
    CREATE TABLE idempotency (
        tenant_id uuid, route text, key text, fingerprint bytea NOT NULL,
        response bytea NOT NULL, expires_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, route, key)
    );
    CREATE INDEX idempotency_expiry ON idempotency (expires_at);
    CREATE TABLE emails (
        email_id uuid PRIMARY KEY, tenant_id uuid NOT NULL, message_ids uuid[] NOT NULL,
        accepted bytea NOT NULL, scheduled_at timestamptz
    ) PARTITION BY RANGE (email_id);
    CREATE TABLE messages (
        message_id uuid PRIMARY KEY, email_id uuid NOT NULL, tenant_id uuid NOT NULL,
        recipient text NOT NULL, recipient_type smallint NOT NULL, audit_at timestamptz,
        closed_state smallint, closed_at timestamptz
    ) PARTITION BY RANGE (message_id);
    CREATE INDEX messages_audit ON messages (audit_at) WHERE audit_at IS NOT NULL;
"""


def upgrade() -> None:
    create_outbox_table()
    create_leases_table()
    sql(DIRECTORY)
    sql(EMAILS)
    day_partitioned("emails")
    day_partitioned("messages", storage="fillfactor=80")
    enforce_tenant_rls("idempotency", grant="SELECT")
    enforce_tenant_rls("emails", grant="SELECT, UPDATE")
    enforce_tenant_rls("messages", grant="SELECT")
    enforce_tenant_rls("tenants", column="id", grant="SELECT")
    enforce_tenant_rls("api_keys", grant="SELECT")
    enforce_tenant_rls("domains", grant="SELECT")
