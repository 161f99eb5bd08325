"""Parsers under test: READERS by name. Each returns, or raises its own ValueError."""
