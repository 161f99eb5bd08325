"""Settings of Kafka's clients: what fits together, and what is a clear error."""

from pathlib import Path

import pytest

from kernel.errors import ConfigError
from kernel.kafka.brokers import Brokers
from kernel.kafka_settings import KafkaSettings
from kernel.settings import Settings, read_settings
from tests.support.tls import certificate_files

USER = {"OBM_KAFKA_SASL_USERNAME": "router", "OBM_KAFKA_SASL_PASSWORD": "rather-long"}


class Service(Settings):
    """A service."""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("OBM_SECRET_KEYS", "key")
    for name, field in KafkaSettings.model_fields.items():
        assert field.validation_alias == f"OBM_{name}".upper()
        monkeypatch.delenv(f"OBM_{name}".upper(), raising=False)
    return monkeypatch


CONTRADICTIONS = {
    "a user without a password": (
        USER | {"OBM_KAFKA_SASL_PASSWORD": ""},
        "OBM_KAFKA_SASL_USERNAME and OBM_KAFKA_SASL_PASSWORD, or neither",
    ),
    "a password without a user": (
        USER | {"OBM_KAFKA_SASL_USERNAME": ""},
        "OBM_KAFKA_SASL_USERNAME and OBM_KAFKA_SASL_PASSWORD, or neither",
    ),
    "a certificate without a key": (
        {"OBM_KAFKA_CA_FILE": "ca.pem", "OBM_KAFKA_CERTIFICATE": "router.pem"},
        "OBM_KAFKA_CERTIFICATE and OBM_KAFKA_KEY",
    ),
    "a certificate without TLS": (
        {"OBM_KAFKA_CERTIFICATE": "router.pem", "OBM_KAFKA_KEY": "key.pem"},
        "OBM_KAFKA_CERTIFICATE requires OBM_KAFKA_CA_FILE",
    ),
    "an unknown mechanism": (
        {"OBM_KAFKA_SASL_MECHANISM": "GSSAPI"},
        "OBM_KAFKA_SASL_MECHANISM: Input should be 'PLAIN', 'SCRAM-SHA-256'",
    ),
}


@pytest.mark.parametrize(("given", "problem"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_an_error(
    environment: pytest.MonkeyPatch, given: dict[str, str], problem: str
) -> None:
    for name, value in given.items():
        environment.setenv(name, value)
    with pytest.raises(ConfigError, match=problem):
        read_settings(Service, [])


def test_nothing_is_secret_by_default(environment: pytest.MonkeyPatch) -> None:
    config = Brokers.from_settings(read_settings(Service, []))
    assert config.options()["security_protocol"] == "PLAINTEXT"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_clients_get_user_and_tls(
    environment: pytest.MonkeyPatch, mechanism: str, tmp_path: Path
) -> None:
    authority = certificate_files(tmp_path, "router").certificate
    given = USER | {"OBM_KAFKA_CA_FILE": str(authority), "OBM_KAFKA_SASL_MECHANISM": mechanism}
    for name, value in given.items():
        environment.setenv(name, value)
    settings = read_settings(Service, [])
    brokers = Brokers.from_settings(settings)
    options = brokers.options()
    assert options.pop("ssl_context").check_hostname
    assert options == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": "router",
        "sasl_plain_password": "rather-long",
    }
    assert "rather-long" not in f"{brokers} {settings}"
