"""Hostile inputs: TEXTS (str) and BODIES (bytes) by name, one file per kind."""
