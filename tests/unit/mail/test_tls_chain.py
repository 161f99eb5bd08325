"""Which chains of certificates prove the name of a mail server."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import tls_chain
from tests.support.authority import DAY, Certified

NAME = "mx1.receiver.example"
ROOT = Certified.root("root")
STRANGER = Certified.root("stranger")
BETWEEN = ROOT.authority("between")
GOOD = ROOT.server(NAME)
TRUSTED = tls_chain.store([ROOT.der])


def proves(chain: list[bytes], name: str = NAME, *, later: timedelta = timedelta()) -> bool:
    now = datetime.now(UTC) + later
    return tls_chain.is_valid_chain(chain, name, trusted=TRUSTED, now=now)


def test_a_certificate_of_a_trusted_authority_proves_the_names_in_it() -> None:
    assert proves(GOOD.chain)
    assert proves(GOOD.chain, "MX1.Receiver.Example.")
    assert proves(ROOT.server("*.receiver.example").chain)
    assert proves(ROOT.server("192.0.2.1").chain, "192.0.2.1")


def test_an_authority_between_counts_when_the_server_sends_it() -> None:
    made = BETWEEN.server(NAME)
    assert proves(made.chain)
    assert not proves(made.chain[:1])


@pytest.mark.parametrize(
    "chain",
    {
        "of another name": ROOT.server("mx2.receiver.example").chain,
        "of no name": ROOT.server("receiver.example").chain,
        "expired": ROOT.server(NAME, since=-3 * DAY, until=-DAY).chain,
        "of tomorrow": ROOT.server(NAME, since=DAY).chain,
        "of an authority that nobody knows": STRANGER.server(NAME).chain,
        "with a root of its own": [*STRANGER.server(NAME).chain, STRANGER.der],
        "signed by itself": [Certified.root(NAME).der],
        "of a server, not an authority": [GOOD.server(NAME).der, GOOD.der],
        "none": [],
        "without end": GOOD.chain * 20,
        "not one": [b"\x30\x03\x02\x01\x00"],
    }.items(),
    ids=lambda item: item[0],
)
def test_what_proves_nothing(chain: tuple[str, list[bytes]]) -> None:
    assert not proves(chain[1])


def test_a_certificate_proves_nothing_beyond_its_time() -> None:
    assert proves(GOOD.chain, later=29 * DAY)
    assert not proves(GOOD.chain, later=31 * DAY)


@pytest.mark.parametrize("name", ["", "mx_1.receiver.example", "zoë.example", "a..b", "x" * 300])
def test_no_certificate_is_for_what_is_not_a_name(name: str) -> None:
    assert not proves(GOOD.chain, name)


def test_without_authorities_nothing_is_proved() -> None:
    now = datetime.now(UTC)
    assert not tls_chain.is_valid_chain(GOOD.chain, NAME, trusted=tls_chain.store([]), now=now)


@given(st.integers(0, len(GOOD.der) - 1), st.binary(max_size=4))
def test_any_octets_of_a_stranger_are_a_no_and_no_error(at: int, octets: bytes) -> None:
    spoilt = GOOD.der[:at] + octets + GOOD.der[at + len(octets) :]
    assert proves([spoilt]) == (spoilt == GOOD.der)
    assert not proves([GOOD.der[:at]])
    assert proves([GOOD.der, spoilt])  # what is of no use is passed over
