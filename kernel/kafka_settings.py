"""Settings of the clients of Kafka: the brokers, TLS, and who the client is."""

from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class KafkaSettings(BaseSettings):
    """Settings of all services; the names of mechanisms are Kafka's."""

    model_config = SettingsConfigDict(populate_by_name=True)

    kafka_bootstrap_servers: str = Field(
        "127.0.0.1:9092",
        validation_alias="OBM_KAFKA_BOOTSTRAP_SERVERS",
        description="Kafka brokers: host:port,…",
    )
    kafka_ca_file: str = Field(
        "",
        validation_alias="OBM_KAFKA_CA_FILE",
        description="File of the authorities (PEM) that certify the brokers; empty: no TLS",
    )
    kafka_certificate: str = Field(
        "",
        validation_alias="OBM_KAFKA_CERTIFICATE",
        description="File of the certificate (PEM) by which the brokers know the services; it is"
        " read again when it changes",
    )
    kafka_key: str = Field(
        "", validation_alias="OBM_KAFKA_KEY", description="File of its private key (PEM)"
    )
    kafka_sasl_mechanism: SaslMechanism = Field(
        "SCRAM-SHA-512",
        validation_alias="OBM_KAFKA_SASL_MECHANISM",
        description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; PLAIN shows the password to whoever "
        "answers at the brokers' address",
    )
    kafka_sasl_username: str = Field(
        "",
        validation_alias="OBM_KAFKA_SASL_USERNAME",
        description="User of Kafka, with a password (SASL); empty: none",
    )
    kafka_sasl_password: str = Field(
        "",
        validation_alias="OBM_KAFKA_SASL_PASSWORD",
        description="Password of that user",
        repr=False,
    )
    kafka_topic_prefix: str = Field(
        "",
        validation_alias="OBM_KAFKA_TOPIC_PREFIX",
        description="Prefix of every topic and consumer group",
    )
    kafka_partitions_max: int = Field(
        12,
        validation_alias="OBM_KAFKA_PARTITIONS_MAX",
        ge=1,
        description="Maximum partitions of a new topic; more replicas than that stay idle",
    )
    kafka_replicas: int = Field(
        0,
        validation_alias="OBM_KAFKA_REPLICAS",
        ge=0,
        description="Replicas of a new topic, which is not created while there are fewer brokers; "
        "0: as many as there are brokers, up to 3",
    )
    kafka_session_timeout_s: float = Field(
        10.0,
        validation_alias="OBM_KAFKA_SESSION_TIMEOUT_S",
        ge=1,
        description="Consumer session timeout; a silent replica then loses its partitions",
    )

    @model_validator(mode="after")
    def _check_kafka(self) -> "KafkaSettings":
        if bool(self.kafka_certificate) != bool(self.kafka_key):
            raise ValueError("set OBM_KAFKA_CERTIFICATE and OBM_KAFKA_KEY, or neither.")
        if self.kafka_certificate and not self.kafka_ca_file:
            raise ValueError("OBM_KAFKA_CERTIFICATE requires OBM_KAFKA_CA_FILE.")
        if bool(self.kafka_sasl_username) != bool(self.kafka_sasl_password):
            raise ValueError("set OBM_KAFKA_SASL_USERNAME and OBM_KAFKA_SASL_PASSWORD, or neither.")
        return self
