"""Timers of ingest: the directory publisher, the audit, retention."""
