"""Fixtures that every test may ask for."""

import os

from tests.support.engine import engine
from tests.support.stack import (
    bootstrap_servers,
    database,
    database_url,
    migrated_template,
    stack,
    topic_prefix,
)

# Each module has topics of its own: with all their partitions they would crowd a small broker.
os.environ.setdefault("OBM_KAFKA_PARTITIONS_MAX", "2")

__all__ = [
    "bootstrap_servers",
    "database",
    "database_url",
    "engine",
    "migrated_template",
    "stack",
    "topic_prefix",
]
