"""Egress sources have an IPv4 and an IPv6 address. Addresses are unique, and at most one source has
no address."""

from kernel.migrate import sql

revision, down_revision = "0004", "0003"


def upgrade() -> None:
    sql("""
        ALTER TABLE egress_sources ADD COLUMN source_ipv6 text NOT NULL DEFAULT '';
        UPDATE egress_sources SET version = version + 1, source_ipv6 = source_ip, source_ip = ''
            WHERE source_ip LIKE '%:%';
        DROP INDEX egress_sources_by_ip;
        CREATE UNIQUE INDEX egress_sources_by_ip ON egress_sources (source_ip)
            WHERE NOT deleted AND source_ip <> '';
        CREATE UNIQUE INDEX egress_sources_by_ipv6 ON egress_sources (source_ipv6)
            WHERE NOT deleted AND source_ipv6 <> '';
        CREATE UNIQUE INDEX egress_sources_without_address ON egress_sources ((true))
            WHERE NOT deleted AND source_ip = '' AND source_ipv6 = '';
    """)
