"""Timers of ingest: the directory publisher, the audit of messages, maintenance, domain checks."""
