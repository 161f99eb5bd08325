"""Brands: the names by which customers and recipients know the engine.

A file in TOML has a table for each brand; the one named `default` is used where no other is. Every
field has a default that follows from `slug`, so that three lines make a brand:

    [default]
    name = "Acme Mail"
    slug = "acme"
    sandbox_domain = "acme-sandbox.example"
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from kernel.errors import ConfigError
from kernel.tls import CertificateFiles

DEFAULT_ID = "default"
HOSTS = {"sandbox_domain", "smtp_host", "bounce_mx", "spf_include", "api_hosts"}
_ID = re.compile(r"[a-z][a-z0-9-]{0,39}")
_SLUG = re.compile(r"[a-z]{2,20}")  # part of an API key, which has letters only
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")


@dataclass(frozen=True, slots=True)
class Brand:
    """slug: lower-case letters: the prefix of API keys, the domain of gRPC errors. problem_type:
    prefix of the `type` of a problem (RFC 9457). api_hosts: host names of the API that belong to
    this brand. sandbox_domain: accepts test mail only. smtp_host: name of the SMTP server.
    bounce_mx, spf_include: in the DNS records of domains. certificates: for TLS, by host.
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
    certificates: tuple[tuple[str, CertificateFiles], ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "problem_type", self.problem_type or f"urn:{self.slug}:problem:")
        object.__setattr__(self, "user_agent", self.user_agent or self.slug.upper())

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host names by which clients reach this brand."""
        return (*self.api_hosts, *([self.smtp_host] if self.smtp_host else []))


class Brands:
    """The brands of an installation, of which a request has that of its host. Raises ValueError if
    two have the same host."""

    def __init__(self, brands: Mapping[str, Brand] | None = None) -> None:
        named = {DEFAULT_ID: Brand()} | dict(brands or {})
        self.default = named[DEFAULT_ID]
        self._named = named
        self._all = tuple(named.values())
        hosts = [(host, one) for one in self._all for host in one.hosts]
        self._by_host = dict(hosts)
        if len(self._by_host) < len(hosts):
            raise ValueError("A host belongs to one brand only.")
        self.certificates = {host: files for one in self._all for host, files in one.certificates}

    @property
    def neutral(self) -> Brand:
        """For what is said before anything is known about the client: among several brands, one
        without names of any."""
        if len(self._all) == 1:
            return self.default
        return replace(
            self.default, name="Mail", slug="mail", problem_type="urn:mail:problem:", smtp_host=""
        )

    @property
    def ids(self) -> list[str]:
        return sorted(self._named)

    def named(self, brand_id: str) -> Brand:
        """The default for an empty id, and for one that the file no longer has."""
        return self._named.get(brand_id, self.default)

    def __iter__(self) -> Iterator[Brand]:
        return iter(self._all)

    def of_host(self, host: str) -> Brand:
        """host: of a request, with or without a port."""
        if not self._by_host:
            return self.default
        return self._by_host.get(host.partition(":")[0].lower().rstrip("."), self.default)


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
        if name != "certificates":
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
        if not _HOST.fullmatch(host) or not isinstance(table, dict) or not _is_certificate(table):
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
    if name == "slug":
        valid = valid and bool(_SLUG.fullmatch(str(value)))
    if name in HOSTS:
        valid = valid and all(_HOST.fullmatch(str(one).removeprefix("_spf.")) for one in values)
    if not valid or not value:
        raise ValueError(f"[{brand_id}] has an invalid {name}: {value!r}")
