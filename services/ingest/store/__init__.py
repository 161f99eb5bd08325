"""Tables and queries of ingest; the only SQL."""
