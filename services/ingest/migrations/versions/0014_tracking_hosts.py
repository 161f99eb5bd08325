"""The hosts of links in mail that lead to the installation by a CNAME of a domain."""

from kernel.migrate import sql

revision, down_revision = "0014", "0013"


def upgrade() -> None:
    sql("""
        CREATE TABLE tracking_hosts (
            id uuid PRIMARY KEY, version bigint NOT NULL,
            published_version bigint NOT NULL DEFAULT 0,
            deleted boolean NOT NULL DEFAULT false, account_id uuid NOT NULL,
            tenant_id uuid NOT NULL, record bytea NOT NULL
        );
        CREATE INDEX tracking_hosts_of_tenant ON tracking_hosts (tenant_id, id);
        CREATE INDEX tracking_hosts_version ON tracking_hosts (version);
        CREATE INDEX tracking_hosts_unpublished ON tracking_hosts (version)
            WHERE published_version < version;
    """)
