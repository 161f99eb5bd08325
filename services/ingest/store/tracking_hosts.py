"""The records of the tracking hosts of domains."""

from collections.abc import Mapping

from contracts.events.v1.events_pb2 import CertificateChanged
from contracts.ingest.v1.directory_pb2 import Domain, HostCertificate, TrackingHost
from kernel.database import Transaction
from services.ingest.domain.tracking_host import id_of_host, record_of_host
from services.ingest.store.directory import LOCK, read_entries, write_entry


async def write_tracking_host(tx: Transaction, domain: Domain) -> None:
    """What a check of a domain has found, in a transaction that has LOCK."""
    if not domain.tracking_host or domain.deleted:
        return
    params = (id_of_host(domain.tracking_host),)
    known = next(iter(await read_entries(tx, TrackingHost, "id = %s", params=params)), None)
    if (record := record_of_host(domain, known)) is not None:
        await write_entry(tx, record)


async def save_certificates(tx: Transaction, changes: Mapping[str, CertificateChanged]) -> set[str]:
    """By host, the newest of each. Returns the hosts of which one was new."""
    await tx.execute(LOCK)
    ids = [id_of_host(host) for host in changes]
    saved = set()
    for record in await read_entries(tx, TrackingHost, "id = ANY(%s::uuid[])", params=(ids,)):
        change = changes[record.host]
        if change.version <= record.certificate.version:
            continue
        record.certificate.CopyFrom(
            HostCertificate(
                version=change.version, problem=change.problem, forbidden=change.forbidden
            )
        )
        for name in ("expires_at", "retry_at"):
            if change.HasField(name):
                getattr(record.certificate, name).CopyFrom(getattr(change, name))
        await write_entry(tx, record)
        saved.add(record.host)
    return saved
