"""Certificate chains that are valid for the name of a mail server."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import tls_chain
from mail.tls_chain import ChainFault
from tests.support.authority import DAY, Certified

NAME = "mx1.receiver.example"
ROOT = Certified.root("root")
STRANGER = Certified.root("stranger")
BETWEEN = ROOT.authority("between")
GOOD = ROOT.server(NAME)
TRUSTED = tls_chain.create_trust_store([ROOT.der])


def proves(chain: list[bytes], name: str = NAME, *, later: timedelta = timedelta()) -> bool:
    now = datetime.now(UTC) + later
    return tls_chain.is_valid_chain(chain, name, trusted=TRUSTED, now=now)


def test_a_certificate_of_a_trusted_authority_is_valid_for_its_names() -> None:
    assert proves(GOOD.chain)
    assert proves(GOOD.chain, "MX1.Receiver.Example.")
    assert proves(ROOT.server("*.receiver.example").chain)
    assert proves(ROOT.server("192.0.2.1").chain, "192.0.2.1")


def test_an_intermediate_authority_counts_if_the_server_sends_it() -> None:
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
def test_invalid_chains_are_rejected(chain: tuple[str, list[bytes]]) -> None:
    assert not proves(chain[1])


@pytest.mark.parametrize(
    ("chain", "fault"),
    [
        (ROOT.server("mx2.receiver.example").chain, ChainFault.WRONG_NAME),
        ([Certified.root(NAME).der], ChainFault.WRONG_NAME),  # its name is not an alternative name
        (ROOT.server("192.0.2.1").chain, ChainFault.WRONG_NAME),
        (ROOT.server(NAME, since=-3 * DAY, until=-DAY).chain, ChainFault.EXPIRED),
        (ROOT.server(NAME, since=DAY).chain, ChainFault.EXPIRED),
        (STRANGER.server(NAME).chain, ChainFault.UNTRUSTED),
        (STRANGER.server("*.receiver.example").chain, ChainFault.UNTRUSTED),
        ([b"\x30\x03\x02\x01\x00"], ChainFault.UNTRUSTED),
        ([], ChainFault.UNTRUSTED),
    ],
)
def test_the_fault_of_an_invalid_chain_is_named(chain: list[bytes], fault: ChainFault) -> None:
    assert tls_chain.fault_of(chain, "MX1.receiver.example.", now=datetime.now(UTC)) is fault


def test_an_expired_certificate_is_rejected() -> None:
    assert proves(GOOD.chain, later=29 * DAY)
    assert not proves(GOOD.chain, later=31 * DAY)


@pytest.mark.parametrize("name", ["", "mx_1.receiver.example", "zoë.example", "a..b", "x" * 300])
def test_an_invalid_name_has_no_valid_certificate(name: str) -> None:
    assert not proves(GOOD.chain, name)


def test_without_authorities_no_chain_is_valid() -> None:
    now = datetime.now(UTC)
    assert not tls_chain.is_valid_chain(
        GOOD.chain, NAME, trusted=tls_chain.create_trust_store([]), now=now
    )


@given(st.integers(0, len(GOOD.der) - 1), st.binary(max_size=4))
def test_malformed_certificates_are_rejected_without_an_error(at: int, octets: bytes) -> None:
    spoilt = GOOD.der[:at] + octets + GOOD.der[at + len(octets) :]
    assert proves([spoilt]) == (spoilt == GOOD.der)
    assert not proves([GOOD.der[:at]])
    assert tls_chain.fault_of([spoilt], NAME, now=datetime.now(UTC))
    assert proves([GOOD.der, spoilt])  # what is of no use is passed over
