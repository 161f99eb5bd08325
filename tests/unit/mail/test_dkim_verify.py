from datetime import UTC, datetime

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from mail import dkim_verify
from mail.address import parse_mailbox
from mail.compose import Email, compose
from mail.dkim import Signer, dkim_record
from mail.dkim_verify import DkimResult
from tests.support.rsa_key import RSA_KEY

RSA = RSA_KEY
ED = ed25519.Ed25519PrivateKey.generate()
PEM = RSA.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.NoEncryption(),
)
SIGNER = Signer("a.example", "r1", RSA, "e1", ED)
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RECORDS = {
    "r1._domainkey.a.example": dkim_record(RSA.public_key()),
    "e1._domainkey.a.example": dkim_record(ED.public_key()),
}
EMAIL = Email(
    from_=parse_mailbox("Ann <a@a.example>"),
    to=(parse_mailbox("b@b.example"),),
    subject="Hello there",
    date=NOW,
    message_id="1@a.example",
    text="one\n\n two\t three \n\n\n",
)


def signed() -> bytes:
    composed = compose(EMAIL)
    return SIGNER.sign(composed.headers, composed.body, NOW) + composed.as_bytes()


def verdicts(raw: bytes, records: dict[str, str] | None = None) -> list[DkimResult]:
    read = dkim_verify.parse_received(raw)
    known = RECORDS if records is None else records
    return [
        dkim_verify.verify_signature(
            read, found, known.get(found.dns_name), now=int(NOW.timestamp())
        ).result
        for found in read.signatures()
    ]


def test_our_signatures_verify() -> None:
    assert verdicts(signed()) == [DkimResult.PASS, DkimResult.PASS]
    assert [s.dns_name for s in dkim_verify.parse_received(signed()).signatures()] == list(RECORDS)


@pytest.mark.parametrize(
    "modes", [(b"relaxed", b"relaxed"), (b"simple", b"simple"), (b"relaxed", b"simple")]
)
@given(body=st.text(st.sampled_from("ab \t\n"), max_size=60))
def test_signatures_of_dkimpy_verify(modes: tuple[bytes, bytes], body: str) -> None:
    head = "From: a@a.example\r\nSubject:  odd \r\n\tfold\r\nTo: b@b.example\r\n\r\n"
    raw = f"{head}{body}\n".encode()
    raw = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    header = dkimpy.sign(raw, b"r1", b"a.example", PEM, canonicalize=modes)
    assert verdicts(header + raw) == [DkimResult.PASS]


def test_changed_line_ends_do_not_break_a_signature() -> None:
    assert verdicts(signed().replace(b"\r\n", b"\n")) == [DkimResult.PASS, DkimResult.PASS]


@pytest.mark.parametrize(
    "change",
    [
        (b"two", b"too"),
        (b"Hello", b"Hallo"),
        (b"From: Ann", b"From: evil@c.example\r\nFrom: Ann"),
        (b"Subject:", b"Subject: more\r\nSubject:"),
    ],
)
def test_a_changed_message_fails(change: tuple[bytes, bytes]) -> None:
    assert verdicts(signed().replace(*change, 1)) == [DkimResult.FAIL, DkimResult.FAIL]


@pytest.mark.parametrize(
    ("record", "result"),
    [
        (None, DkimResult.PERMERROR),
        ("v=DKIM1; k=rsa; p=", DkimResult.PERMERROR),
        ("v=DKIM1; k=ed25519; p=AAAA", DkimResult.PERMERROR),
        ("v=DKIM1; k=rsa; p=AAAA", DkimResult.PERMERROR),
        ("v=spf1 -all", DkimResult.PERMERROR),
        (dkim_record(rsa.generate_private_key(65537, 2048).public_key()), DkimResult.FAIL),
    ],
)
def test_a_wrong_record_is_reported(record: str | None, result: DkimResult) -> None:
    records = {"r1._domainkey.a.example": record} if record else {}
    assert verdicts(signed(), records)[0] is result


@pytest.mark.parametrize(
    "tags",
    [
        "v=1; a=rsa-sha1; b=x; bh=x; d=a.example; h=from; s=r1",
        "v=1; a=rsa-sha256; b=x; bh=x; d=a.example; h=to; s=r1",
        "v=1; a=rsa-sha256; b=x; bh=x; d=a.example; h=from; s=r1; x=5",
        "v=1; a=rsa-sha256; b=x; bh=x; d=a.example; h=from; s=r1; l=5",
        "v=1; a=rsa-sha256; b=x; bh=x; d=a.example; h=from; s=r1; i=@b.example",
        "v=1; a=rsa-sha256; b=x; bh=x; d=a.example; h=from",
        "v=1; v=1; a=rsa-sha256",
    ],
)
def test_an_invalid_signature_does_not_pass(tags: str) -> None:
    raw = f"DKIM-Signature: {tags}\r\nFrom: a@a.example\r\n\r\n".encode()
    assert verdicts(raw) == [DkimResult.PERMERROR]


@given(st.binary(max_size=200))
def test_any_bytes_can_be_verified(raw: bytes) -> None:
    verdicts(b"DKIM-Signature: " + raw + b"\r\n\r\n" + raw)
    verdicts(raw)
