"""Decisions of ingest: validation, permissions, priority."""
