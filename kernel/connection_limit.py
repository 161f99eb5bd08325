"""Bounds the connections of a server, in all and of each client."""

from collections import Counter
from ipaddress import IPv6Address, ip_address


class ConnectionLimiter:
    """Counts the connections of all listeners that share it."""

    def __init__(self, connections_max: int, client_connections_max: int) -> None:
        self.connections_max = connections_max
        self._client_connections_max = client_connections_max
        self._open: Counter[str] = Counter()

    def enter(self, client: str) -> bool:
        """False if there are too many."""
        network = network_of(client)
        if (
            self._open.total() >= self.connections_max
            or self._open[network] >= self._client_connections_max
        ):
            return False
        self._open[network] += 1
        return True

    def leave(self, client: str) -> None:
        network = network_of(client)
        self._open[network] -= 1
        if not self._open[network]:
            del self._open[network]


def network_of(client: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 address, which one customer has."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
    return str(address)
