"""The configuration of the peers, and the error if one is missing."""

from pathlib import Path

import pytest

from bench.peers.postfix import cached_destinations, transport
from bench.peers.rspamd import files
from bench.peers.start import NotInstalled, require

ROUTES = {"a.example": ("127.0.77.1", 2525), "b.example": ("127.0.77.2", 2525)}


def test_every_domain_is_routed_to_its_site() -> None:
    assert transport(ROUTES) == (
        "a.example smtp:[127.0.77.1]:2525\nb.example smtp:[127.0.77.2]:2525\n"
    )


def test_connections_to_each_next_hop_are_cached() -> None:
    assert cached_destinations(ROUTES) == "127.0.77.1 yes\n127.0.77.2 yes\n"


def test_rspamd_signs_without_network_queries(tmp_path: Path) -> None:
    written = files(11332, tmp_path)
    assert "check_pubkey = false" in written["dkim_signing.conf"]
    assert written["rbl.conf"] == written["spf.conf"] == "enabled = false;\n"


def test_a_missing_program_is_an_error_with_its_package() -> None:
    with pytest.raises(NotInstalled, match="apt-get install postfix"):
        require("no-such-mail-server", "postfix")
