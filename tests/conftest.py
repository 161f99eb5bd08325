"""Fixtures that every test may ask for."""

from tests.support.engine import engine
from tests.support.pair import (
    bootstrap_servers,
    database,
    database_url,
    migrated_template,
    pair,
    topic_prefix,
)

__all__ = [
    "bootstrap_servers",
    "database",
    "database_url",
    "engine",
    "migrated_template",
    "pair",
    "topic_prefix",
]
