"""Domains as JSON: Resend's fields, and more."""

from uuid import UUID

from contracts.ingest.v1.directory_pb2 import Domain, DomainListing
from kernel.ids import creation_time_of
from mail.records import DnsRecord, Purpose
from services.ingest.api.domains import DomainDetails, DomainDkimRecords
from services.ingest.api.rest_base import format_time, format_timestamp
from services.ingest.domain.links import name_of_mode
from services.ingest.domain.tracking_host import CertificateStatus, label_of
from services.ingest.domain.verification import STATUSES, CheckedRecord, RecordStatus

# Resend's words: both records of the return path are named SPF.
KINDS = {Purpose.RETURN_PATH: "SPF", Purpose.TRACKING: "Tracking"}
REGION = "self-hosted"


def summary_to_json(domain: Domain) -> dict[str, object]:
    """A domain in a list."""
    return {
        "object": "domain",
        "id": domain.domain_id,
        "tenant_id": domain.tenant_id,
        "name": domain.name,
        "status": STATUSES[domain.status],
        "paused": domain.paused,
        "shared": domain.shared,
        "vouched": domain.vouched,
        "created_at": format_time(creation_time_of(UUID(domain.domain_id))),
        "region": REGION,
        "return_path": domain.return_path_host,
        "dkim_selectors": [domain.rsa_selector, domain.ed25519_selector],
    }


def to_json(view: DomainDetails) -> dict[str, object]:
    found = {(one.name, one.type): one for one in view.check.records}
    checked_at, due_at = view.check.checked_at, view.check.due_at
    return {
        **summary_to_json(view.domain),
        "open_tracking": view.domain.open_tracking,
        "click_tracking": view.domain.click_tracking,
        "untracked_hosts": list(view.domain.untracked_hosts),
        "tracking_mode": name_of_mode(view.domain.tracking_mode),
        "tracking_subdomain": label_of(view.domain) or None,
        "tracking_certificate": _certificate(view.certificate),
        "tls": "enforced" if view.domain.tls_enforced else "opportunistic",
        "checked_at": format_time(checked_at) if checked_at else None,
        "next_check_at": format_time(due_at) if due_at else None,
        "rotation": _rotation(view.domain),
        "listings": [_listing(one) for one in reversed(view.domain.listings)],
        "records": [_record(one, found.get((one.name, one.type))) for one in view.records],
    }


def _listing(one: DomainListing) -> dict[str, object]:
    ended_at = format_timestamp(one.ended_at) if one.HasField("ended_at") else None
    return {
        "blocklist": one.blocklist,
        "name": one.name,
        "codes": list(one.codes),
        "meaning": one.meaning,
        "text": one.text or None,
        "found_at": format_timestamp(one.found_at),
        "ended_at": ended_at,
    }


def _rotation(domain: Domain) -> dict[str, object] | None:
    if domain.HasField("pending_keys"):
        keys, status = domain.pending_keys, "pending"
    elif domain.HasField("retired_keys"):
        keys, status = domain.retired_keys, "retiring"
    else:
        return None
    selectors = [keys.rsa_selector, keys.ed25519_selector]
    retire_at = format_timestamp(keys.retire_at)
    return {"status": status, "dkim_selectors": selectors, "retire_at": retire_at}


def _certificate(found: CertificateStatus | None) -> dict[str, object] | None:
    if found is None:
        return None
    certificate = found.certificate
    times = {
        name: format_timestamp(getattr(certificate, name)) if certificate.HasField(name) else None
        for name in ("expires_at", "retry_at")
    }
    return {"status": found.status, "problem": certificate.problem, **times}


def _record(record: DnsRecord, found: CheckedRecord | None) -> dict[str, object]:
    priority = {} if record.priority is None else {"priority": record.priority}
    return {
        "record": KINDS.get(record.purpose, record.purpose.upper()),
        "name": record.name,
        "type": record.type,
        "ttl": "Auto",
        "status": found.status if found else RecordStatus.NOT_STARTED,
        "value": record.value,
        **priority,
        "required": record.required,
        "found": list(found.found) if found else [],
        "problem": found.problem if found else "",
    }


def zone_entry_to_json(entry: DomainDkimRecords) -> dict[str, object]:
    return {
        "object": "dkim_zone_entry",
        "id": entry.domain.domain_id,
        "domain": entry.domain.name,
        "records": [
            {"name": one.name, "type": one.type, "value": one.value} for one in entry.records
        ],
    }
