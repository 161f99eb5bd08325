"""Kafka clients of tests, which use the password of the broker, as the engine does."""

import os
from collections.abc import Mapping
from typing import Any

from kernel.kafka.brokers import Brokers
from kernel.kafka_settings import KafkaSettings

# In the environment while an embedded broker runs.
USER = (
    "OBM_KAFKA_SASL_MECHANISM",
    "OBM_KAFKA_SASL_USERNAME",
    "OBM_KAFKA_SASL_PASSWORD",
)


def client_settings(bootstrap_servers: str) -> dict[str, str]:
    """Settings by environment variable, for a broker of the fixture `stack`."""
    user = {name: os.environ[name] for name in USER if name in os.environ}
    return {"OBM_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, **user}


def client_config(bootstrap_servers: str) -> Brokers:
    """For such a broker."""
    settings = KafkaSettings.model_validate(client_settings(bootstrap_servers))
    return Brokers.from_settings(settings)


def options(bootstrap_servers: str) -> dict[str, Any]:
    """Arguments of aiokafka's clients for such a broker."""
    return client_config(bootstrap_servers).options()


def config_of(settings: Mapping[str, str]) -> Brokers:
    """From settings by environment variable."""
    return Brokers.from_settings(KafkaSettings.model_validate(settings))


def options_of(settings: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of aiokafka's clients, from such settings."""
    return config_of(settings).options()
