"""Public suffixes."""

import pytest

from mail.suffix import is_public_suffix, registrable_domain


@pytest.mark.parametrize(
    "domain", ["com", "co.uk", "com.au", "gov.br", "xn--p1ai", "xn--55qx5d.cn", "anything.ck", "zz"]
)
def test_a_registry_suffix_is_a_public_suffix(domain: str) -> None:
    assert is_public_suffix(domain)


@pytest.mark.parametrize(
    "domain", ["example.com", "shop.example.co.uk", "xn--d1acufc.xn--p1ai", "www.ck", "github.io"]
)
def test_a_registered_name_is_not_a_public_suffix(domain: str) -> None:
    assert not is_public_suffix(domain)


@pytest.mark.parametrize(
    ("domain", "registrable"),
    [
        ("a.b.example.com", "example.com"),
        ("example.co.uk", "example.co.uk"),
        ("a.example.co.uk", "example.co.uk"),
        ("x.user.github.io", "github.io"),
        ("a.b.zz", "b.zz"),
        ("co.uk", "co.uk"),
        ("localhost", "localhost"),
        ("", ""),
    ],
)
def test_names_under_a_registrable_domain_have_one_owner(domain: str, registrable: str) -> None:
    assert registrable_domain(domain) == registrable
