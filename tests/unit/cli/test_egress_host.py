"""The settings of `obm egress-host`, and what they allow."""

from pathlib import Path
from typing import Any

import pytest

from cli.egress_host import Settings, config_of
from kernel.errors import ConfigError
from kernel.settings import read_settings
from tests.support.socks5 import TOKEN


def refusal(address: str, port: int = 25, **settings: Any) -> str:  # noqa: ANN401
    return config_of(Settings(tokens=[TOKEN], **settings)).refusal_of(address, port)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.5", "192.168.1.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1",
     "fd00::1", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"],
)  # fmt: skip
def test_private_destinations_are_refused(address: str) -> None:
    assert refusal(address) == "private destination"


def test_public_destinations_and_configured_networks_are_allowed_at_port_25() -> None:
    assert not refusal("9.9.9.9")
    assert not refusal("2620:fe::fe")
    assert not refusal("10.0.0.5", allowed_networks="10.0.0.0/24")
    assert refusal("10.0.1.5", allowed_networks="10.0.0.0/24")
    assert refusal("9.9.9.9", 587) == "port not allowed"
    assert not refusal("9.9.9.9", 2525, ports="25, 2525")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("OBM_EGRESS_TOKENS", "", "must not be empty"),
        ("OBM_EGRESS_TOKENS", "short", "16 to 255"),
        ("OBM_EGRESS_TOKENS", "ß" * 20, "ASCII"),
        ("OBM_EGRESS_TOKENS", "x" * 256, "16 to 255"),
        ("EGRESS_HOST_ADDRESSES", "out1.example.com", "EGRESS_HOST_ADDRESSES"),
        ("EGRESS_HOST_PORTS", "25,smtp", "no port"),
        ("EGRESS_HOST_ALLOWED_NETWORKS", "10.0.0.5/8", "EGRESS_HOST_ALLOWED_NETWORKS"),
        ("EGRESS_HOST_IDLE_TIMEOUT_S", "30", "EGRESS_HOST_IDLE_TIMEOUT_S"),
        ("EGRESS_HOST_SOCKS_LISTEN", "0.0.0.0:1080", "uses no TLS"),
        ("EGRESS_HOST_TLS_KEY", "/etc/key", "or neither"),
    ],
)
def test_a_wrong_setting_is_named(
    name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBM_EGRESS_TOKENS", TOKEN)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=reason):
        read_settings(Settings, [])


def test_with_a_certificate_it_may_listen_everywhere(tmp_path: Path) -> None:
    files: dict[str, Any] = {
        "tls_certificate": str(tmp_path / "c.pem"),
        "tls_key": str(tmp_path / "k.pem"),
    }
    settings = Settings(tokens=[TOKEN], socks_listen="0.0.0.0:1080", **files)
    assert settings.certificate()
    assert TOKEN not in repr(settings)
