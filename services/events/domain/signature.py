"""Standard Webhooks v1 signatures, https://github.com/standard-webhooks (spec, "Signature scheme").

Symmetric: base64 of HMAC-SHA-256 over `id.timestamp.body`, under the bytes behind `whsec_`.
"""

import base64
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
SECRET_BYTES = 32  # the specification requires 24 to 64


def secret_text(secret: bytes) -> str:
    """The secret as tenants see it, and as the libraries accept it."""
    return PREFIX + base64.b64encode(secret).decode()


def signature_headers(
    secrets: Sequence[bytes], identifier: str, *, timestamp: int, body: bytes
) -> dict[str, str]:
    """The signature headers, with a signature by each secret: a receiver accepts any one.
    timestamp: Unix time of the attempt; identifier: of the event."""
    signed = f"{identifier}.{timestamp}.".encode() + body
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(secret, signed) for secret in secrets),
    }


def _signature(secret: bytes, signed: bytes) -> str:
    return f"v1,{base64.b64encode(hmac.digest(secret, signed, 'sha256')).decode()}"
