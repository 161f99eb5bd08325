"""Brands, each with the hosts that belong to it, and the brand that an account names."""

from kernel.migrate import sql

revision, down_revision = "0010", "0009"


# No account that exists already can name a record.
def upgrade() -> None:
    sql("""
        CREATE TABLE brands (
            id uuid PRIMARY KEY, version bigint NOT NULL,
            published_version bigint NOT NULL DEFAULT 0,
            deleted boolean NOT NULL DEFAULT false, hosts text[] NOT NULL, record bytea NOT NULL
        );
        CREATE INDEX brands_hosts ON brands USING gin (hosts) WHERE NOT deleted;
        CREATE INDEX brands_version ON brands (version);
        CREATE INDEX brands_unpublished ON brands (version) WHERE published_version < version;
        ALTER TABLE accounts ADD COLUMN brand text NOT NULL DEFAULT '';
        CREATE INDEX accounts_of_brand ON accounts (brand) WHERE brand <> '' AND NOT deleted;
    """)
