"""Brands: the names by which customers and recipients know the engine.

A file in TOML has a table for each brand of the installation; the one named `default` is used where
no other is. Every field has a default that follows from `slug`, so that three lines make a brand:

    [default]
    name = "Acme Mail"
    slug = "acme"
    sandbox_domain = "acme-sandbox.example"

Others are records of the directory, with the same fields.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from kernel.errors import ConfigError
from kernel.tls import CertificateFiles

DEFAULT_ID = "default"
HOSTS = {
    "sandbox_domain", "smtp_host", "bounce_mx", "spf_include", "api_hosts", "docs_host",
    "tracking_host", "unsubscribe_host", "dkim_zone",
}  # fmt: skip
SLUG = re.compile(r"[a-z]{2,20}")  # part of an API key, which has letters only
HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+")
HOST_MAX = 253
SELECTOR_PREFIX = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")
# No character that ends an attribute in HTML, or a source in a Content-Security-Policy.
LOGO_URL = re.compile(rf"(https://{HOST.pattern}(:[0-9]{{1,5}})?)/[A-Za-z0-9._~/%?&=+-]*")
LOGO_URL_MAX = 500
COLOR = re.compile(r"#[0-9a-f]{6}")
_ID = re.compile(r"[a-z][a-z0-9-]{0,39}")
_FILES = "certificates"
_PATTERNS = {
    "slug": SLUG, "selector_prefix": SELECTOR_PREFIX, "logo_url": LOGO_URL, "color": COLOR,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Brand:
    """slug: lower-case letters: the prefix of API keys, the domain of gRPC errors. problem_type:
    prefix of the `type` of a problem (RFC 9457). sandbox_domain: accepts test mail only. smtp_host:
    name of the SMTP server. bounce_mx, spf_include, selector_prefix: in the DNS records of new
    domains. dkim_zone: a DNS zone of the installation that has their DKIM keys. api_hosts,
    docs_host, tracking_host, unsubscribe_host: host names that belong to this brand. logo_url,
    color: https, and #rrggbb, of pages that recipients see. certificates: for TLS, by host.
    """

    name: str = "OBM Engine"
    slug: str = "obm"
    problem_type: str = ""
    sandbox_domain: str = "obm-sandbox.net"
    user_agent: str = ""
    smtp_host: str = ""
    bounce_mx: str = ""
    spf_include: str = ""
    api_hosts: tuple[str, ...] = field(default=())
    docs_host: str = ""
    tracking_host: str = ""
    unsubscribe_host: str = ""
    selector_prefix: str = ""
    dkim_zone: str = ""
    logo_url: str = ""
    color: str = ""
    certificates: tuple[tuple[str, CertificateFiles], ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "problem_type", self.problem_type or f"urn:{self.slug}:problem:")
        object.__setattr__(self, "user_agent", self.user_agent or self.slug.upper())

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host names by which clients reach this brand, each once."""
        single = (self.smtp_host, self.docs_host, self.tracking_host, self.unsubscribe_host)
        return tuple(dict.fromkeys([*self.api_hosts, *filter(None, single)]))


NEUTRAL = Brand("Mail", "mail", sandbox_domain="sandbox.example")


def brand_of(record: Any) -> Brand:  # noqa: ANN401 - a message of the directory
    """record: with the fields of Brand, but for certificates."""
    given = {one.name: getattr(record, one.name) for one in fields(Brand) if one.name != _FILES}
    return Brand(**(given | {"api_hosts": tuple(record.api_hosts)}))


def is_record_id(brand_id: str) -> bool:
    """Whether it is a UUIDv7: ids of the file begin with a letter."""
    return brand_id[:1].isdigit()


class Brands:
    """The brands of an installation: those of its file, and the records that `put` adds. A request
    has the brand of its host.

    If the default brand has api_hosts, these and those of the others are all there are. Otherwise
    every other host is the default brand's.
    """

    def __init__(self, brands: Mapping[str, Brand] | None = None) -> None:
        """Raises ValueError if two have the same host."""
        self._of_file = {DEFAULT_ID: Brand()} | dict(brands or {})
        self._records: dict[str, Brand] = {}
        self.default = self._of_file[DEFAULT_ID]
        self.knows_all_hosts = bool(self.default.api_hosts)
        hosts = [(host, one) for one in self._of_file.values() for host in one.hosts]
        self.hosts_of_file = dict(hosts)
        if len(self.hosts_of_file) < len(hosts):
            raise ValueError("A host belongs to one brand only.")
        self._by_host = dict(self.hosts_of_file)
        self.certificates = {
            host: files for one in self._of_file.values() for host, files in one.certificates
        }
        self.sandbox_domains: dict[str, int] = {}  # with the number of brands that have each
        for one in self._of_file.values():
            self._count_sandbox(one, 1)

    def put(self, brand_id: str, brand: Brand | None) -> None:
        """Add or replace a record. brand: None if it is deleted. A host of the file stays with the
        brand of the file."""
        if (old := self._records.pop(brand_id, None)) is not None:
            for host in old.hosts:
                if self._by_host.get(host) is old:
                    del self._by_host[host]
            self._count_sandbox(old, -1)
        if brand is not None:
            self._records[brand_id] = brand
            own = (host for host in brand.hosts if host not in self.hosts_of_file)
            self._by_host.update(dict.fromkeys(own, brand))
            self._count_sandbox(brand, 1)

    def _count_sandbox(self, brand: Brand, change: int) -> None:
        count = self.sandbox_domains.pop(brand.sandbox_domain, 0) + change
        if count:
            self.sandbox_domains[brand.sandbox_domain] = count

    @property
    def is_one(self) -> bool:
        """Whether there is only the default brand."""
        return len(self._of_file) + len(self._records) == 1

    @property
    def neutral(self) -> Brand:
        """For what is said before anything is known about the client: among several brands, one
        without names of any."""
        return self.default if self.is_one else NEUTRAL

    @property
    def ids(self) -> list[str]:
        """Of the brands of the file."""
        return sorted(self._of_file)

    def named(self, brand_id: str) -> Brand:
        """The default for an empty id, and for one that is gone."""
        return self._of_file.get(brand_id) or self._records.get(brand_id) or self.default

    def __contains__(self, brand_id: str) -> bool:
        return brand_id in self._of_file or brand_id in self._records

    def __iter__(self) -> Iterator[Brand]:
        yield from self._of_file.values()
        yield from self._records.values()

    def find_host(self, host: str) -> Brand | None:
        """host: of a request, with or without a port."""
        if not self._by_host:
            return None
        return self._by_host.get(host) or self._by_host.get(without_port(host))

    def of_host(self, host: str) -> Brand:
        """The neutral brand if no brand has the host and the default one has other hosts."""
        return self.find_host(host) or (self.neutral if self.knows_all_hosts else self.default)

    def refuses(self, host: str) -> bool:
        """Whether no brand has the host of a request, and it is no name at all: health checks and
        calls within a cluster use addresses."""
        return self.knows_all_hosts and self.find_host(host) is None and not is_local(host)


def without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and (port.isdigit() or not port) else host).lower().rstrip(".")


@lru_cache(1_000)  # it takes 7 µs
def is_local(host: str) -> bool:
    """Whether it is absent, localhost or an address."""
    name = without_port(host)
    if name in {"", "localhost"}:
        return True
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def read_brands(path: str) -> Brands:
    """The brands of a file; the engine's own without one. Raises ConfigError."""
    if not path:
        return Brands()
    try:
        tables = tomllib.loads(Path(path).read_text())
        return Brands({name: _brand(name, table) for name, table in tables.items()})
    except (OSError, ValueError) as error:
        raise ConfigError(f"OBM_BRANDS_FILE: {error}") from error


def _brand(brand_id: str, table: object) -> Brand:
    """Raises ValueError."""
    if not _ID.fullmatch(brand_id) or not isinstance(table, dict):
        raise ValueError(f"{brand_id!r} is not a brand. Write a table: [acme] or [default].")
    known = {one.name for one in fields(Brand)}
    if unknown := sorted(table.keys() - known):
        raise ValueError(f"[{brand_id}] has an unknown field {unknown[0]!r}. {sorted(known)}")
    for name, value in table.items():
        if name != _FILES:
            _check(brand_id, name, value)
    for missing in {"name", "slug", "sandbox_domain"} - table.keys():
        raise ValueError(f"[{brand_id}] has no {missing}.")
    lists = {"api_hosts": tuple(table.get("api_hosts", ()))}
    certificates = _certificates(brand_id, table.get("certificates", {}))
    return Brand(**(table | lists | {"certificates": certificates}))


def _certificates(brand_id: str, tables: object) -> tuple[tuple[str, CertificateFiles], ...]:
    """tables: by host. Raises ValueError."""
    found = []
    for host, table in tables.items() if isinstance(tables, dict) else [("", {})]:
        if not _is_host(host) or not isinstance(table, dict) or not _is_certificate(table):
            raise ValueError(
                f"[{brand_id}.certificates] needs a table for each host, with the files "
                "certificate and key."
            )
        found.append((host, CertificateFiles(Path(table["certificate"]), Path(table["key"]))))
    return tuple(found)


def _is_certificate(table: dict[str, object]) -> bool:
    return set(table) == {"certificate", "key"} and all(
        isinstance(file, str) and file for file in table.values()
    )


def _check(brand_id: str, name: str, value: object) -> None:
    """Raises ValueError."""
    values = value if name == "api_hosts" and isinstance(value, list) else [value]
    valid = all(isinstance(one, str) and one.isprintable() and one.isascii() for one in values)
    if pattern := _PATTERNS.get(name):
        valid = valid and bool(pattern.fullmatch(str(value)))
    if name in HOSTS:
        valid = valid and all(_is_host(str(one).removeprefix("_spf.")) for one in values)
    if not valid or not value:
        raise ValueError(f"[{brand_id}] has an invalid {name}: {value!r}")


def _is_host(text: str) -> bool:
    return len(text) <= HOST_MAX and bool(HOST.fullmatch(text))
