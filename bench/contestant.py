"""A measured server: its address, its processes, and the DNS records of its DKIM keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Contestant:
    name: str
    protocol: str  # http | smtp
    port: int
    processes: Mapping[str, int]  # name → pid at the root of its process tree
    dns: Mapping[str, str] = field(default_factory=dict)  # name of a DKIM record → its text
    key: str = ""  # API key
    tls: bool = False  # from the start of each connection
    connections: int = 20
    settings: Mapping[str, str] = field(default_factory=dict)  # environment of the services
    database_url: str = ""  # the owner's
