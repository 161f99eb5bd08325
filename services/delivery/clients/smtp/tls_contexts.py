"""TLS contexts of the SMTP client. Certificates are verified after the handshake, see
`certificates`, because what is required of them depends on the message."""

import ssl


def lenient_context() -> ssl.SSLContext:
    """A context that accepts any TLS, even 1.0, because it is better than clear text."""
    context = strict_context()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def strict_context() -> ssl.SSLContext:
    """A context for connections that must have TLS: 1.2 or newer (RFC 8461 §4, RFC 8996)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
