"""The hosts in the DNS records of a domain are those of its brand."""

from contracts.ingest.v1.directory_pb2 import Domain
from kernel.brand import Brand, Brands
from kernel.crypto import SecretKeyring, new_secret_key
from services.ingest.store.domain_keys import DomainKeyring, InstallationHosts

OWN = InstallationHosts.of("mx.default.net")
BRANDS = Brands(
    {
        "both": Brand(slug="both", bounce_mx="mx.both.net", spf_include="spf.both.net"),
        "bounces": Brand(slug="bounces", bounce_mx="mx.bounces.net"),
        "spf": Brand(slug="spf", spf_include="_spf.spf.net"),
        "none": Brand(slug="none"),
    }
)


def test_hosts_that_a_brand_does_not_name_are_those_of_the_settings() -> None:
    found = {one: OWN.with_names_of(BRANDS.named(one)) for one in BRANDS.ids}
    assert found == {
        "default": OWN,
        "none": OWN,
        "both": InstallationHosts("mx.both.net", "spf.both.net"),
        "bounces": InstallationHosts("mx.bounces.net", "_spf.mx.bounces.net"),
        "spf": InstallationHosts("mx.default.net", "_spf.spf.net"),
    }


async def test_the_records_of_a_domain_name_the_hosts_of_its_brand() -> None:
    keys = DomainKeyring(SecretKeyring([new_secret_key()]), OWN, BRANDS, report_key=bytes(16))
    made = await keys.new_domain("shop.net", tenant_id="t", account_id="a", brand="both")
    values = " ".join(record.value for record in keys.records(made))
    assert "mx.both.net" in values
    assert "spf.both.net" in values
    assert "default.net" not in values
    other = Domain()
    other.CopyFrom(made)
    other.brand, other.bounce_mx = "gone", ""
    assert "mx.default.net" in " ".join(record.value for record in keys.records(other))
    other.brand = "both"  # added before domains kept their hosts
    assert "mx.both.net" in " ".join(record.value for record in keys.records(other))


async def test_a_domain_keeps_the_hosts_that_it_was_added_with() -> None:
    brands = Brands()
    brands.put("1", Brand(slug="one", bounce_mx="mx.one.net", selector_prefix="one"))
    keys = DomainKeyring(SecretKeyring([new_secret_key()]), OWN, brands, report_key=bytes(16))
    made = await keys.new_domain("shop.net", tenant_id="t", account_id="a", brand="1")
    assert made.rsa_selector.startswith("one-")
    published = keys.records(made)
    brands.put("1", Brand(slug="two", bounce_mx="mx.two.net", selector_prefix="two"))
    assert keys.records(made) == published
    assert (await keys.new_keys(made.brand)).ed25519_selector.startswith("two-")
    brands.put("1", None)
    assert keys.records(made) == published
    assert "mx.one.net" in " ".join(record.value for record in published)
