"""Where the brokers are, and TLS to them."""

import logging
import ssl
from pathlib import Path
from typing import Any, NamedTuple

from faststream.security import BaseSecurity

from kernel.errors import ConfigError
from kernel.settings import Settings
from kernel.tls import CertificateFiles, Stamp, stamp_of

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


class Brokers(NamedTuple):
    """bootstrap_servers: host:port,… tls: None: none."""

    bootstrap_servers: str
    tls: BrokerTls | None = None

    @classmethod
    def of(cls, given: "str | Brokers") -> "Brokers":
        return given if isinstance(given, Brokers) else cls(given)

    @classmethod
    def from_settings(cls, settings: Settings) -> "Brokers":
        """Raises ConfigError."""
        if not settings.kafka_ca_file:
            return cls(settings.kafka_bootstrap_servers)
        client = None
        if settings.kafka_certificate:
            client = CertificateFiles(Path(settings.kafka_certificate), Path(settings.kafka_key))
        tls = BrokerTls(Path(settings.kafka_ca_file), client)
        return cls(settings.kafka_bootstrap_servers, tls)

    def options(self) -> dict[str, Any]:
        """Arguments of every client of aiokafka."""
        if self.tls is None:
            return {"bootstrap_servers": self.bootstrap_servers}
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": "SSL",
            "ssl_context": self.tls.context,
        }

    @property
    def security(self) -> BaseSecurity | None:
        """For FastStream."""
        return None if self.tls is None else BaseSecurity(ssl_context=self.tls.context)

    def reload(self) -> None:
        if self.tls is not None:
            self.tls.reload()
