"""The names by which block lists have hosts."""

import pytest

from mail.listed_name import listed_name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("www.shop.example.com", "example.com"),
        ("www.shop.co.uk", "shop.co.uk"),
        ("deep.lure.github.io", "lure.github.io"),  # anyone gets a name there
        ("github.io", "github.io"),
        ("co.uk", "co.uk"),
        ("192.0.2.7", "192.0.2.7"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_a_list_has_the_name_that_one_owner_has_registered(host: str, name: str) -> None:
    assert listed_name(host) == name
