"""Pauses of tenants."""

from contracts.ingest.v1.directory_pb2 import Tenant


def is_paused(tenant: Tenant, now_s: float) -> bool:
    """A pause with an end ends by itself."""
    until_s = tenant.pause.until.seconds
    return tenant.HasField("pause") and (not until_s or until_s > now_s)
