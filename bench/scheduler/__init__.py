"""The router's scheduler on real PostgreSQL, with many tenants, sources and waiting messages."""
