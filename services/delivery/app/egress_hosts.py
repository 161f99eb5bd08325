"""Wiring of connections through egress hosts."""

import ssl

from kernel.errors import ConfigError
from services.delivery.clients.smtp.egress_hosts import EgressHostDialer
from services.delivery.settings import Settings


def create_egress_hosts(settings: Settings) -> EgressHostDialer:
    """Raises ConfigError."""
    token = settings.egress_tokens[0] if settings.egress_tokens else ""
    return EgressHostDialer(token, tls_context(settings), timeout_s=settings.egress_host_timeout_s)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    if not settings.egress_host_tls:
        return None
    if not (settings.egress_tokens or settings.egress_host_ca):
        return None  # without a token nobody logs in, and to read all authorities takes 20 ms
    file = settings.egress_host_ca
    try:
        return ssl.create_default_context(cafile=file or None)
    except OSError as error:  # also of TLS
        raise ConfigError(f"Cannot use DELIVERY_EGRESS_HOST_CA {file}: {error}.") from error
