"""The hosts of links in mail that lead to the installation by a CNAME of a domain."""

from contracts.ingest.v1.directory_pb2 import TrackingHost
from kernel.table import ReplicatedTable, TopicReplayer


class DomainTrackingHosts:
    """Replicates them: a host is known within a second after it was verified, in every process."""

    def __init__(self, kafka: TopicReplayer | None) -> None:
        self.table = ReplicatedTable(TrackingHost, kafka, index=lambda one: one.host)

    def target_of(self, host: str) -> str:
        """The host of a brand that a host leads to, or has led to; empty for other hosts."""
        found = self.table.get_by_index(host)
        return found.target if found is not None else ""

    def are_known(self) -> bool:
        """Whether the records have arrived."""
        return self.table.replayed.is_set()
