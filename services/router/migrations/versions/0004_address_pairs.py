"""Egresses have an IPv4 and an IPv6 address. No two have the same one, and one has neither."""

from kernel.migrate import sql

revision, down_revision = "0004", "0003"


def upgrade() -> None:
    sql("""
        ALTER TABLE egresses ADD COLUMN source_ipv6 text NOT NULL DEFAULT '';
        UPDATE egresses SET version = version + 1, source_ipv6 = source_ip, source_ip = ''
            WHERE source_ip LIKE '%:%';
        DROP INDEX egresses_addresses;
        CREATE UNIQUE INDEX egresses_addresses ON egresses (source_ip)
            WHERE NOT deleted AND source_ip <> '';
        CREATE UNIQUE INDEX egresses_ipv6_addresses ON egresses (source_ipv6)
            WHERE NOT deleted AND source_ipv6 <> '';
        CREATE UNIQUE INDEX egresses_without_address ON egresses ((true))
            WHERE NOT deleted AND source_ip = '' AND source_ipv6 = '';
    """)
