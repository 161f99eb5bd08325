"""Mailboxes: usernames and passwords for SMTP submission."""

from kernel.migrate import add_account_rls, enforce_tenant_rls, sql

revision, down_revision = "0008", "0007"


def upgrade() -> None:
    sql("""
        CREATE TABLE mailboxes (
            id uuid PRIMARY KEY, version bigint NOT NULL,
            published_version bigint NOT NULL DEFAULT 0,
            deleted boolean NOT NULL DEFAULT false,
            account_id uuid NOT NULL REFERENCES accounts,
            tenant_id uuid NOT NULL REFERENCES tenants,
            address text NOT NULL, test boolean NOT NULL, last_used_at timestamptz,
            record bytea NOT NULL
        );
        CREATE UNIQUE INDEX mailboxes_address ON mailboxes (tenant_id, address, test)
            WHERE NOT deleted;
        CREATE INDEX mailboxes_of_tenant ON mailboxes (tenant_id, id) WHERE NOT deleted;
        CREATE INDEX mailboxes_of_account ON mailboxes (account_id, id) WHERE NOT deleted;
        CREATE INDEX mailboxes_version ON mailboxes (version);
        CREATE INDEX mailboxes_unpublished ON mailboxes (version)
            WHERE published_version < version;
    """)
    enforce_tenant_rls("mailboxes", grant="SELECT")
    add_account_rls("mailboxes")
