"""Whether the feedback domain of a pool can sign: its DKIM record must be published."""

from contracts.ingest.v1 import directory_pb2 as pb

PUBLISHED = (
    pb.DOMAIN_STATUS_UNSPECIFIED, pb.DOMAIN_STATUS_PARTIALLY_VERIFIED, pb.DOMAIN_STATUS_VERIFIED,
    pb.DOMAIN_STATUS_PARTIALLY_FAILED,
)  # fmt: skip


def feedback_problem(domain: pb.Domain | None) -> str:
    """Empty if it can sign. The other records of the domain do not matter."""
    if domain is None:
        return "removed"
    if domain.paused:
        return "paused"
    return "" if domain.status in PUBLISHED else "unverified"
