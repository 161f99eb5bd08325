"""The hosts whose MX is the return path's listener."""

from contracts.ingest.v1.directory_pb2 import Domain


class ReturnPathHosts:
    """The listener's own names, and the hosts of the return paths of all domains: several domains
    may have the same. own: in lower case."""

    def __init__(self, *own: str) -> None:
        self._own = frozenset(own)
        self._domains: dict[str, frozenset[str]] = {}  # their ids, by host

    def put(self, domain: Domain) -> None:
        """Apply a record of the directory."""
        host = domain.return_path_host
        known = self._domains.get(host, frozenset())
        if domain.deleted:
            left = known - {domain.domain_id}
            self._domains.pop(host, None)
        else:
            left = known | {domain.domain_id}
        if left:
            self._domains[host] = left

    def __contains__(self, host: str) -> bool:
        return host in self._own or host in self._domains
