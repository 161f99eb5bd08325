"""The addresses that webhooks may call: special-purpose ranges, and ways to disguise them."""

import pytest

from mail.reachable import is_allowed_target, parse_networks
from services.events.domain.endpoint import (
    WebhookEndpoint,
    endpoint_problem,
    endpoints_by_owner,
    subscribes_to,
)

LOOPBACK = parse_networks(["127.0.0.0/8"])

PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.1",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4001::200e",
    "::ffff:8.8.8.8",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_never_called(address: str) -> None:
    assert not is_allowed_target(address, (), plain=False)
    assert not is_allowed_target(address, (), plain=True)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_called_only_with_tls(address: str) -> None:
    assert is_allowed_target(address, (), plain=False)
    assert not is_allowed_target(address, (), plain=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_an_allowed_network_is_called_even_without_tls(address: str) -> None:
    assert is_allowed_target(address, LOOPBACK, plain=True)
    assert is_allowed_target(address, LOOPBACK, plain=False)


def test_an_allowed_network_does_not_allow_another() -> None:
    assert not is_allowed_target("10.0.0.1", LOOPBACK, plain=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https:///path",
        "https://user:secret@example.com/",
        "https://exa mple.com/",
        "https://example.com/\r\nx: y",
        "https://example.com:port/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "javascript:alert(1)",
        "https://example.com/" + "x" * 2048,
        "",
    ],
)
def test_an_invalid_url_cannot_be_an_endpoint(url: str) -> None:
    assert endpoint_problem(url, ()).startswith("endpoint ")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.com/hooks?key=1", ()),
        ("https://8.8.8.8:8443/", ()),
        ("http://127.0.0.1:8080/hook", LOOPBACK),
        ("http://localhost:8080/hook", LOOPBACK),
    ],
)
def test_a_valid_url_can_be_an_endpoint(url: str, allowed: tuple) -> None:  # type: ignore[type-arg]
    assert endpoint_problem(url, allowed) == ""


def test_an_empty_filter_subscribes_to_all_events() -> None:
    assert subscribes_to([], "email.bounced")
    assert subscribes_to(["email.bounced"], "email.bounced")
    assert not subscribes_to(["email.sent"], "email.bounced")


def ids_by_owner(*endpoints: WebhookEndpoint, **accounts: str) -> dict[str, list[str]]:
    found = endpoints_by_owner(endpoints, accounts)
    return {owner: [one.id for one in some] for owner, some in found.items()}


def endpoint(name: str, owner: str, *tenant_ids: str, account_wide: bool = True) -> WebhookEndpoint:
    return WebhookEndpoint(
        name, owner, "https://x.example/", b"", account_wide=account_wide, tenant_ids=tenant_ids
    )


def test_a_tenant_has_its_own_endpoints_and_those_of_its_account() -> None:
    found = ids_by_owner(
        endpoint("own", "t1", account_wide=False),
        endpoint("all", "a"),
        endpoint("some", "a", "t2", "foreign"),
        endpoint("other", "b"),
        t1="a", t2="a", t3="b", t4="",
    )  # fmt: skip
    assert found == {
        "t1": ["own", "all"], "t2": ["all", "some"], "t3": ["other"], "a": ["all"], "b": ["other"],
    }  # fmt: skip


def test_a_filter_by_tenants_reaches_no_tenant_of_another_account() -> None:
    assert ids_by_owner(endpoint("some", "a", "t1"), t1="b", a="a") == {}
