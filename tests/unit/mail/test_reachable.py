"""Public addresses, special-purpose ranges, and ways to disguise them."""

from ipaddress import ip_address, ip_network

import pytest

from mail.reachable import is_public, may_connect

SPECIAL = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.127.255.255", "100.64.0.1",
    "127.0.0.1", "127.255.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1", "172.16.3.4",
    "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.1.1", "192.31.196.1", "192.88.99.1",
    "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.1.1.1",
    "240.0.0.1", "255.255.255.255", "100::1", "2001:20::1", "2001:2::1", "2001::1",
    "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "2002:a00:1::",
    "2606:4700::200:5efe:a00:1", "2606:4700::5efe:7f00:1", "3fff::1", "4000::1", "5f00::1",
    "64:ff9b:1::1", "64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "::", "::1", "::127.0.0.1",
    "::8.8.8.8", "::ffff:0:127.0.0.1", "::ffff:10.0.0.1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "fc00::1", "fd00:ec2::254", "fd12:3456::1",
    "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "100.128.0.1", "100.63.255.255", "11.0.0.1", "126.255.255.255", "128.0.0.1",
    "169.253.255.255", "172.15.255.255", "172.32.0.1", "192.167.255.255", "193.0.6.139",
    "198.17.255.255", "198.20.0.1", "223.255.255.255", "8.8.8.8", "9.255.255.255",
    "2606:4700::1111", "2a00:1450:4001::200e", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", SPECIAL)
def test_a_special_address_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))
    assert not may_connect(ip_address(address), [])


@pytest.mark.parametrize("address", PUBLIC)
def test_a_connection_to_a_public_address_is_allowed(address: str) -> None:
    assert may_connect(ip_address(address), [])


def test_the_operator_allows_one_network_only() -> None:
    allowed = [ip_network("10.1.0.0/16"), ip_network("fd00::/8")]
    assert may_connect(ip_address("10.1.2.3"), allowed)
    assert may_connect(ip_address("::ffff:10.1.2.3"), allowed)
    assert may_connect(ip_address("fd12::1"), allowed)
    assert not may_connect(ip_address("10.2.0.1"), allowed)
