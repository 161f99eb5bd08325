"""Names to addresses that may be called.

Without threads: those that getaddrinfo needs are few, and names that resolve slowly, which any
customer can register, would hold them all.
"""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

import dns.asyncresolver
import dns.exception

from kernel.cache import Cache

MayCall: TypeAlias = Callable[[str, bool], bool]
"""Whether an address may be called, without TLS (True) or with it."""

TTL_S = 30.0
NAMES_MAX = 4096
LOOKUP_S = 5.0
HOSTS = Path("/etc/hosts")


class Refused(OSError):
    """The address may not be called."""


class Addresses:
    """What it answers is what is connected to: no second lookup, so no rebinding."""

    def __init__(
        self,
        may_call: MayCall,
        *,
        resolver: dns.asyncresolver.Resolver | None = None,
        hosts: Path = HOSTS,
    ) -> None:
        self._may_call = may_call
        self._resolver = resolver or dns.asyncresolver.Resolver()
        self._hosts = read_hosts(hosts)
        self._found: Cache[list[str]] = Cache(self._ask, most=NAMES_MAX)

    async def of(self, host: str, *, plain: bool) -> list[str]:
        """plain: without TLS, which needs an allowed address. Raises Refused, or OSError."""
        found = await self._resolved(host)
        good = [one for one in found if self._may_call(one, plain)]
        if found and not good:
            raise Refused("the address is private")
        return good

    async def _resolved(self, host: str) -> list[str]:
        try:
            ip_address(host.partition("%")[0])
        except ValueError:
            pass
        else:
            return [host]
        name = host.lower().rstrip(".")
        listed = self._hosts.get(name)
        return await self._found.get(name) if listed is None else listed

    async def _ask(self, name: str) -> tuple[list[str], float]:
        try:
            answers = await self._resolver.resolve_name(name, lifetime=LOOKUP_S)
        except dns.exception.DNSException as error:
            raise OSError(f"{name}: {error}") from error
        return list(dict.fromkeys(answers.addresses())), TTL_S

    async def close(self) -> None:
        await self._found.close()


def read_hosts(path: Path) -> Mapping[str, list[str]]:
    """The names that this machine knows without DNS (hosts(5)); none when there is no such file."""
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
