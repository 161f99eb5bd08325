"""Resolve host names to addresses that a policy allows.

Resolution uses no threads: getaddrinfo's pool is small, and any customer can register names that
resolve slowly and would occupy it.
"""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

import dns.asyncresolver
import dns.exception

from kernel.cache import Cache
from kernel.resolver import system_resolver

AddressPolicy: TypeAlias = Callable[[str, bool], bool]
"""Takes an address and whether the connection is without TLS; returns whether it is allowed."""

TTL_S = 30.0
NAMES_MAX = 4096
LOOKUP_TIMEOUT_S = 5.0
HOSTS = Path("/etc/hosts")


class AddressRefused(OSError):
    """The policy allows none of the host's addresses."""


class AddressResolver:
    """Callers connect to the addresses returned here, without a second lookup: this prevents DNS
    rebinding."""

    def __init__(
        self,
        is_allowed: AddressPolicy,
        *,
        resolver: dns.asyncresolver.Resolver | None = None,
        hosts: Path = HOSTS,
    ) -> None:
        self._is_allowed = is_allowed
        self._resolver = resolver or system_resolver((), timeout_s=LOOKUP_TIMEOUT_S)
        self._hosts = read_hosts(hosts)
        self._cache: Cache[list[str]] = Cache(self._query, entries_max=NAMES_MAX)

    async def resolve(self, host: str, *, plain: bool) -> list[str]:
        """The allowed addresses of a host. plain: the connection is without TLS.

        Raises AddressRefused or OSError.
        """
        found = await self._look_up(host)
        allowed = [address for address in found if self._is_allowed(address, plain)]
        if found and not allowed:
            raise AddressRefused("the address is private")
        return allowed

    async def _look_up(self, host: str) -> list[str]:
        try:
            ip_address(host.partition("%")[0])
        except ValueError:
            pass
        else:
            return [host]
        name = host.lower().rstrip(".")
        from_hosts = self._hosts.get(name)
        return await self._cache.get(name) if from_hosts is None else from_hosts

    async def _query(self, name: str) -> tuple[list[str], float]:
        try:
            answers = await self._resolver.resolve_name(name, lifetime=LOOKUP_TIMEOUT_S)
        except dns.exception.DNSException as error:
            raise OSError(f"{name}: {error}") from error
        return list(dict.fromkeys(answers.addresses())), TTL_S

    async def close(self) -> None:
        await self._cache.close()


def read_hosts(path: Path) -> Mapping[str, list[str]]:
    """The names in a hosts(5) file and their addresses; empty when the file is missing."""
    try:
        lines: Iterable[str] = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names: dict[str, list[str]] = {}
    for line in lines:
        address, *others = line.partition("#")[0].split() or [""]
        for name in others:
            names.setdefault(name.lower(), []).append(address)
    return names
