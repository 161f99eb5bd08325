"""New domains with their DKIM keys, and the records that publish the keys."""

import asyncio
import secrets
from dataclasses import dataclass
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from contracts.ingest.v1.directory_pb2 import DkimKeys, Domain
from kernel.brand import Brand, Brands
from kernel.crypto import SecretKeyring
from kernel.errors import ConfigError
from kernel.ids import uuid7_text
from mail import verp
from mail.dkim import dkim_record
from mail.records import DnsRecord, Purpose, expected_records, key_record, tracking_record

RSA_BITS = 2048
RETURN_PATH_LABEL = "bounce"
SELECTOR_OCTETS = 5
GENERATING_MAX = 1  # RSA keys that are generated at a time: each takes 0.1 s of a processor


@dataclass(frozen=True, slots=True)
class InstallationHosts:
    """Hosts of this installation that the DNS records of customers refer to."""

    bounce_mx: str
    spf_include: str

    @classmethod
    def of(cls, bounce_mx: str, spf_include: str = "") -> "InstallationHosts":
        return cls(bounce_mx, spf_include or f"_spf.{bounce_mx}")

    def with_names_of(self, brand: Brand) -> "InstallationHosts":
        """With the hosts that a brand names."""
        return self.of(
            brand.bounce_mx or self.bounce_mx,
            brand.spf_include or ("" if brand.bounce_mx else self.spf_include),
        )

    def __bool__(self) -> bool:
        return bool(self.bounce_mx)


class DomainKeyring:
    """Generates and reads DKIM keys: RSA-2048 and Ed25519 (RFC 8463). hosts: false if the
    installation has none. brands: may name others. report_key: of the addresses for reports."""

    def __init__(
        self,
        keyring: SecretKeyring,
        hosts: InstallationHosts,
        brands: Brands | None = None,
        *,
        report_key: bytes,
    ) -> None:
        self._report_key = report_key
        self.hosts = hosts
        self._brands = brands or Brands()
        self._keyring = keyring
        self._generating = asyncio.Semaphore(GENERATING_MAX)

    async def new_domain(
        self,
        name: str,
        *,
        tenant_id: str,
        account_id: str,
        label: str = RETURN_PATH_LABEL,
        brand: str = "",
    ) -> Domain:
        """A domain with new keys under random selectors. name: an A-label. label: of the host of
        the return path. brand: that the account names."""
        keys = await self.new_keys(brand)
        names = self._brands.named(brand)
        own = self.hosts.with_names_of(names) if names.bounce_mx or names.spf_include else None
        return Domain(
            domain_id=uuid7_text(),
            tenant_id=tenant_id,
            account_id=account_id,
            name=name,
            brand=brand,
            rsa_selector=keys.rsa_selector,
            rsa_private_key=keys.rsa_private_key,
            ed25519_selector=keys.ed25519_selector,
            ed25519_private_key=keys.ed25519_private_key,
            return_path_host=f"{label}.{name}",
            bounce_mx=own.bounce_mx if own else "",
            spf_include=own.spf_include if own else "",
            dkim_zone=names.dkim_zone,
        )

    async def new_keys(self, brand: str = "") -> DkimKeys:
        """New keys under random selectors. brand: whose prefix the selectors have."""
        async with self._generating:
            rsa = await asyncio.to_thread(
                generate_private_key, public_exponent=65537, key_size=RSA_BITS
            )
        prefix = self._brands.named(brand).selector_prefix
        token = f"{prefix}-" * bool(prefix) + secrets.token_hex(SELECTOR_OCTETS)
        return DkimKeys(
            rsa_selector=f"{token}-rsa",
            rsa_private_key=self._sealed(rsa),
            ed25519_selector=f"{token}-ed25519",
            ed25519_private_key=self._sealed(Ed25519PrivateKey.generate()),
        )

    def records(self, domain: Domain) -> tuple[DnsRecord, ...]:
        """The DNS records that the domain's owner should publish; none without hosts."""
        hosts = self._hosts_of(domain)
        if not hosts:
            return ()
        records = expected_records(
            domain.name,
            dkim=self._key_records(domain, domain),
            return_path_host=domain.return_path_host,
            bounce_mx=hosts.bounce_mx,
            spf_include=hosts.spf_include,
            dmarc_report=self._report_address(domain, verp.DMARC_PREFIX),
            tls_report=self._report_address(domain, verp.TLS_PREFIX),
        )
        host, target = domain.tracking_host, domain.tracking_target
        links = (tracking_record(host, target),) if host else ()
        return (*records, *links, *self._records_of_rotation(domain))

    def _report_address(self, domain: Domain, prefix: str) -> str:
        """At the domain's own return path, which needs no consent of another domain to get reports
        (RFC 9990 §4)."""
        identifier, host = UUID(domain.domain_id), domain.return_path_host
        return verp.return_path(identifier, host, key=self._report_key, prefix=prefix).address

    def _hosts_of(self, domain: Domain) -> InstallationHosts:
        """Those that it was added with: its owner has published them."""
        if domain.bounce_mx:
            return InstallationHosts(domain.bounce_mx, domain.spf_include)
        if domain.brand not in self._brands:
            return self.hosts
        return self.hosts.with_names_of(self._brands.named(domain.brand))

    def _records_of_rotation(self, domain: Domain) -> list[DnsRecord]:
        """The records of keys that do not sign: not required for mail to be sent."""
        others = [
            keys
            for name, keys in (
                ("pending_keys", domain.pending_keys),
                ("retired_keys", domain.retired_keys),
            )
            if domain.HasField(name)  # type: ignore[arg-type]
        ]
        return [one for keys in others for one in self._key_records(domain, keys, required=False)]

    def signing_records(self, domain: Domain) -> list[DnsRecord]:
        """Those of the keys that sign."""
        return self._key_records(domain, domain)

    def zone_records(self, domain: Domain) -> tuple[DnsRecord, ...]:
        """What the zone of the installation publishes for the aliases of a domain."""
        return tuple(
            DnsRecord(Purpose.DKIM, one.value, "TXT", one.key)
            for one in self.records(domain)
            if one.key
        )

    def _key_records(
        self, domain: Domain, keys: Domain | DkimKeys, *, required: bool = True
    ) -> list[DnsRecord]:
        sealed = (
            (keys.rsa_selector, keys.rsa_private_key),
            (keys.ed25519_selector, keys.ed25519_private_key),
        )
        return [
            key_record(
                domain.name, selector, self._record_of(key),
                target=_target(domain, selector), required=required,
            )
            for selector, key in sealed
        ]  # fmt: skip

    def _sealed(self, key: RSAPrivateKey | Ed25519PrivateKey) -> bytes:
        plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return self._keyring.encrypt(plain)

    def _record_of(self, sealed: bytes) -> str:
        """The key is unvalidated: that takes 0.1 s for an RSA key."""
        plain = self._keyring.decrypt(sealed)
        key = load_der_private_key(plain, None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
            raise ConfigError("A DKIM key is neither RSA nor Ed25519.")
        return dkim_record(key.public_key())


def _target(domain: Domain, selector: str) -> str:
    """Where the zone of the installation has a key: selectors of two domains may be equal. Empty:
    the domain has its keys itself."""
    unique = domain.domain_id.replace("-", "")
    return f"{selector}.{unique}.{domain.dkim_zone}" if domain.dkim_zone else ""
