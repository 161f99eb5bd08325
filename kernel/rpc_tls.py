"""TLS between services, beside the token."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from kernel.errors import ConfigError
from kernel.tls import CertificateFiles, Certificates


class RpcTlsSettings(BaseSettings):
    """Settings of all services: RPC has TLS where an authority is set."""

    model_config = SettingsConfigDict(populate_by_name=True)

    rpc_tls_ca: str = Field(
        "",
        validation_alias="OBM_RPC_TLS_CA",
        description="File of the authorities (PEM) that issue the services' certificates; with it "
        "RPC between services has TLS",
    )
    rpc_tls_certificate: str = Field(
        "",
        validation_alias="OBM_RPC_TLS_CERTIFICATE",
        description="File of this service's certificate chain (PEM), for the host of its "
        "…_RPC_ADDRESS; servers read it again when it changes",
    )
    rpc_tls_key: str = Field(
        "",
        validation_alias="OBM_RPC_TLS_KEY",
        description="File of that certificate's private key (PEM)",
    )
    rpc_tls_clients: bool = Field(
        False,
        validation_alias="OBM_RPC_TLS_CLIENTS",
        description="Whether clients must show a certificate too, of the same authorities",
    )

    @model_validator(mode="after")
    def _check_rpc_tls(self) -> "RpcTlsSettings":
        if bool(self.rpc_tls_certificate) != bool(self.rpc_tls_key):
            raise ValueError("set OBM_RPC_TLS_CERTIFICATE and OBM_RPC_TLS_KEY, or neither.")
        if self.rpc_tls_certificate and not self.rpc_tls_ca:
            raise ValueError("OBM_RPC_TLS_CERTIFICATE needs OBM_RPC_TLS_CA, which checks it.")
        if self.rpc_tls_clients and not self.rpc_tls_certificate:
            raise ValueError(
                "OBM_RPC_TLS_CLIENTS needs OBM_RPC_TLS_CERTIFICATE, which this client shows."
            )
        return self


@dataclass(frozen=True, slots=True)
class RpcTls:
    """ca: file of the authorities of both sides. files: of this service."""

    ca: Path
    files: CertificateFiles | None = None
    verify_clients: bool = False

    @classmethod
    def from_settings(cls, settings: RpcTlsSettings) -> "RpcTls | None":
        """None: RPC without TLS."""
        if not settings.rpc_tls_ca:
            return None
        files = None
        if settings.rpc_tls_certificate:
            files = CertificateFiles(Path(settings.rpc_tls_certificate), Path(settings.rpc_tls_key))
        return cls(Path(settings.rpc_tls_ca), files, settings.rpc_tls_clients)

    def certificates(self) -> Certificates:
        """The server's. Raises ConfigError."""
        if self.files is None:
            raise ConfigError("OBM_RPC_TLS_CA needs OBM_RPC_TLS_CERTIFICATE where RPC is served.")
        return Certificates(self.files)

    @property
    def clients_ca(self) -> Path | None:
        """The authorities of clients; None: clients show no certificate."""
        return self.ca if self.verify_clients else None

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """A client's. Raises ConfigError."""
        shown = self.files if self.verify_clients else None
        try:
            return grpc.ssl_channel_credentials(
                self.ca.read_bytes(),
                shown.key.read_bytes() if shown else None,
                shown.certificate.read_bytes() if shown else None,
            )
        except OSError as error:
            raise ConfigError(f"Cannot read the files of OBM_RPC_TLS_…: {error}.") from error


def server_credentials(
    certificates: Certificates, *, clients_ca: Path | None = None
) -> grpc.ServerCredentials:
    """Credentials with the newest certificates. gRPC selects one by the names in it, or else the
    first. clients_ca: file of the authorities of clients, which then must show a certificate; it is
    read again with a new certificate. Raises ConfigError."""
    served = certificates.pem_pairs

    def configuration() -> Any:  # noqa: ANN401 - grpc's configuration has no public type
        ca = clients_ca.read_bytes() if clients_ca else None
        return grpc.ssl_server_certificate_configuration(list(served), root_certificates=ca)

    def fetch() -> Any:  # noqa: ANN401
        """Called in a thread of gRPC before each handshake. None: as before."""
        nonlocal served
        if (newest := certificates.pem_pairs) is served:
            return None
        served = newest
        return configuration()

    try:
        first = configuration()
    except OSError as error:
        raise ConfigError(f"Cannot read {clients_ca}: {error.strerror}.") from error
    return grpc.dynamic_ssl_server_credentials(
        first, fetch, require_client_authentication=clients_ca is not None
    )
