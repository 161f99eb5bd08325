from datetime import UTC, datetime, timedelta
from hashlib import sha256, sha512

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from mail import tlsa
from mail.tls_chain import read_chain
from mail.tlsa import Tlsa

NOW = datetime(2026, 11, 23, tzinfo=UTC)
Key = ec.EllipticCurvePrivateKey


def certificate(subject: str, key: Key, issuer: str, by: Key, *names: str) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(1000 + len(subject))
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(n) for n in names])
        builder = builder.add_extension(alternative, critical=False)
    return builder.sign(by, SHA256())


CA_KEY, LEAF_KEY, OTHER_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
CA = certificate("ca", CA_KEY, "ca", CA_KEY)
LEAF = certificate("leaf", LEAF_KEY, "ca", CA_KEY, "mx.b.example", "*.c.example")
FORGED = certificate("leaf", OTHER_KEY, "ca", OTHER_KEY, "mx.b.example")
CHAIN = (LEAF, CA)
LEAF_SPKI = LEAF_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
CA_DER = CA.public_bytes(Encoding.DER)
ANCHOR = Tlsa(2, 0, 1, sha256(CA_DER).digest())


@pytest.mark.parametrize(
    "record",
    [
        Tlsa(3, 1, 1, sha256(LEAF_SPKI).digest()),
        Tlsa(3, 1, 2, sha512(LEAF_SPKI).digest()),
        Tlsa(3, 0, 0, LEAF.public_bytes(Encoding.DER)),
        ANCHOR,
    ],
)
def test_the_right_certificate_matches(record: Tlsa) -> None:
    assert tlsa.matches([Tlsa(3, 1, 1, b"x" * 32), record], CHAIN, ["mx.b.example"], now=NOW)


def test_an_end_entity_needs_no_name() -> None:
    assert tlsa.matches(
        [Tlsa(3, 1, 1, sha256(LEAF_SPKI).digest())], CHAIN, ["other.example"], now=NOW
    )


def test_a_trust_anchor_requires_the_name() -> None:
    assert tlsa.matches([ANCHOR], CHAIN, ["x.c.example"], now=NOW)
    assert not tlsa.matches([ANCHOR], CHAIN, ["y.x.c.example"], now=NOW)
    assert not tlsa.matches([ANCHOR], CHAIN, ["other.example"], now=NOW)
    assert not tlsa.matches([ANCHOR], (CA, CA), ["ca"], now=NOW)


def test_a_certificate_that_the_anchor_did_not_issue_does_not_match() -> None:
    assert not tlsa.matches([ANCHOR], (FORGED, CA), ["mx.b.example"], now=NOW)
    assert not tlsa.matches([ANCHOR], (LEAF,), ["mx.b.example"], now=NOW)
    assert not tlsa.matches([ANCHOR], (), ["mx.b.example"], now=NOW)


def test_a_certificate_that_is_not_a_ca_cannot_issue_others() -> None:
    forged = certificate("forged", OTHER_KEY, "leaf", LEAF_KEY, "mx.evil.example")
    assert not tlsa.matches([ANCHOR], (forged, LEAF, CA), ["mx.evil.example"], now=NOW)


def test_validity_dates_count_only_under_a_trust_anchor() -> None:
    later = NOW + timedelta(days=2)
    assert not tlsa.matches([ANCHOR], CHAIN, ["mx.b.example"], now=later)
    assert tlsa.matches([Tlsa(3, 1, 1, sha256(LEAF_SPKI).digest())], CHAIN, [], now=later)


@pytest.mark.parametrize(
    "record",
    [Tlsa(1, 1, 1, b"x" * 32), Tlsa(3, 2, 1, b"x" * 32), Tlsa(3, 1, 9, b"x"), Tlsa(3, 1, 1, b"x")],
)
def test_unusable_records_are_ignored(record: Tlsa) -> None:
    assert tlsa.usable_records([record]) == []


def test_the_record_name_contains_the_port() -> None:
    assert tlsa.record_name("mx.b.example") == "_25._tcp.mx.b.example"


def test_a_chain_is_verified_once_for_all_records(monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[x509.Certificate] = []
    issued = tlsa._issued

    def counted(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
        verified.append(subject)
        return issued(subject, issuer)

    monkeypatch.setattr(tlsa, "_issued", counted)
    others = [Tlsa(2, 0, 1, sha256(bytes([n])).digest()) for n in range(100)]
    assert not tlsa.matches(others, CHAIN, ["mx.b.example"], now=NOW)
    assert len(verified) == 1
    assert tlsa.matches([*others, ANCHOR], CHAIN, ["mx.b.example"], now=NOW)
    assert len(verified) == 2


KEY_RECORDS = [ANCHOR, Tlsa(2, 1, 1, b"x" * 32), Tlsa(3, 1, 1, b"x" * 32)]
EC_KEY, ECDSA_SHA256 = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06082a8648ce3d040302")


@pytest.mark.parametrize("known", [EC_KEY, ECDSA_SHA256], ids=["key", "signature"])
@pytest.mark.parametrize("unknown_of", [LEAF, CA], ids=["server", "authority"])
def test_an_unknown_algorithm_does_not_match(known: bytes, unknown_of: x509.Certificate) -> None:
    ders = [
        one.public_bytes(Encoding.DER).replace(known, known[:-1] + b"\x77")
        if one is unknown_of
        else one.public_bytes(Encoding.DER)
        for one in CHAIN
    ]
    records = KEY_RECORDS[1:]
    assert not tlsa.matches(records, read_chain(ders), ["mx.b.example"], now=NOW)


@pytest.mark.parametrize("place", [0, 1], ids=["server", "authority"])
def test_a_changed_certificate_is_no_error(place: int) -> None:
    ders = [one.public_bytes(Encoding.DER) for one in CHAIN]
    for at in range(len(ders[place])):
        for bits in (0x01, 0x80, 0xFF):
            changed = bytearray(ders[place])
            changed[at] ^= bits
            sent = [*ders[:place], bytes(changed), *ders[place + 1 :]]
            tlsa.matches(KEY_RECORDS, read_chain(sent), ["mx.b.example"], now=NOW)
