"""Timers of ingest: the directory's publisher, the audit, retention."""
