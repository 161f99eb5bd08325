"""The hosts in the DNS records of a domain are those of its brand."""

from contracts.ingest.v1.directory_pb2 import Domain
from kernel.brand import Brand, Brands
from kernel.crypto import SecretKeyring, new_secret_key
from services.ingest.store.domain_keys import DomainKeys, PublishedHosts

OWN = PublishedHosts.of("mx.default.net")
BRANDS = Brands(
    {
        "both": Brand(slug="both", bounce_mx="mx.both.net", spf_include="spf.both.net"),
        "bounces": Brand(slug="bounces", bounce_mx="mx.bounces.net"),
        "spf": Brand(slug="spf", spf_include="_spf.spf.net"),
        "none": Brand(slug="none"),
    }
)


def test_hosts_that_a_brand_does_not_name_are_those_of_the_settings() -> None:
    assert PublishedHosts.of_brands(BRANDS, OWN) == {
        "both": PublishedHosts("mx.both.net", "spf.both.net"),
        "bounces": PublishedHosts("mx.bounces.net", "_spf.mx.bounces.net"),
        "spf": PublishedHosts("mx.default.net", "_spf.spf.net"),
    }


async def test_the_records_of_a_domain_name_the_hosts_of_its_brand() -> None:
    by_brand = PublishedHosts.of_brands(BRANDS, OWN)
    keys = DomainKeys(SecretKeyring([new_secret_key()]), OWN, by_brand)
    made = await keys.new_domain("shop.net", tenant_id="t", account_id="a", brand="both")
    values = " ".join(record.value for record in keys.records(made))
    assert "mx.both.net" in values
    assert "spf.both.net" in values
    assert "default.net" not in values
    other = Domain()
    other.CopyFrom(made)
    other.brand = "gone"
    assert "mx.default.net" in " ".join(record.value for record in keys.records(other))
