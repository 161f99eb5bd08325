"""Where the brokers are, TLS to them, and the user."""

import logging
import ssl
from pathlib import Path
from typing import Any, NamedTuple

from faststream.kafka.security import parse_security
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from kernel.errors import ConfigError
from kernel.kafka_settings import KafkaSettings
from kernel.tls import CertificateFiles, Stamp, stamp_of

MECHANISMS = {
    "PLAIN": SASLPlaintext,
    "SCRAM-SHA-256": SASLScram256,
    "SCRAM-SHA-512": SASLScram512,
}

logger = logging.getLogger(__name__)


class BrokerTls:
    """authorities: a file that certifies the brokers, by the names in their addresses. client: the
    certificate that they ask for, if they do. Raises ConfigError."""

    def __init__(self, authorities: Path, client: CertificateFiles | None = None) -> None:
        self._client = client
        try:
            self.context = ssl.create_default_context(cafile=authorities)
            self._stamp = self._load()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"Cannot use {authorities} and the certificate for Kafka: {error}."
            ) from error

    def _load(self) -> Stamp:
        if self._client is None:
            return ()
        stamp = stamp_of(self._client)
        self.context.load_cert_chain(self._client.certificate, self._client.key)
        return stamp

    def reload(self) -> None:
        """Read the client's certificate again if it has changed; new connections use it."""
        if self._client is None or stamp_of(self._client) == self._stamp:
            return
        try:
            self._stamp = self._load()
        except (OSError, ValueError) as error:  # half written; the old one stays
            logger.error("kafka.certificate_unusable", extra={"error": repr(error)})


class BrokerUser(NamedTuple):
    """name, and how the password is proved: one of MECHANISMS."""

    name: str
    password: str
    mechanism: str

    def __repr__(self) -> str:
        return f"BrokerUser({self.name!r})"


class Brokers(NamedTuple):
    """bootstrap_servers: host:port,… tls: None: none. user: None: none."""

    bootstrap_servers: str
    tls: BrokerTls | None = None
    user: BrokerUser | None = None

    @classmethod
    def of(cls, given: "str | Brokers") -> "Brokers":
        return given if isinstance(given, Brokers) else cls(given)

    @classmethod
    def from_settings(cls, settings: KafkaSettings) -> "Brokers":
        """Raises ConfigError."""
        tls = user = client = None
        if settings.kafka_certificate:
            client = CertificateFiles(Path(settings.kafka_certificate), Path(settings.kafka_key))
        if settings.kafka_ca_file:
            tls = BrokerTls(Path(settings.kafka_ca_file), client)
        if settings.kafka_sasl_username:
            password, mechanism = settings.kafka_sasl_password, settings.kafka_sasl_mechanism
            user = BrokerUser(settings.kafka_sasl_username, password, mechanism)
        return cls(settings.kafka_bootstrap_servers, tls, user)

    def options(self) -> dict[str, Any]:
        """Arguments of every client of aiokafka."""
        return {"bootstrap_servers": self.bootstrap_servers, **parse_security(self.security)}

    @property
    def security(self) -> BaseSecurity:
        """For FastStream."""
        context = self.tls.context if self.tls else None
        if self.user is None:
            return BaseSecurity(ssl_context=context)
        security = MECHANISMS[self.user.mechanism]
        return security(self.user.name, self.user.password, ssl_context=context)

    def reload(self) -> None:
        if self.tls is not None:
            self.tls.reload()
