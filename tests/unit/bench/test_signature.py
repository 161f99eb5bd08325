"""A sampled message counts as signed only if all of its signatures verify."""

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.signature import count_valid

KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.NoEncryption(),
)
PUBLIC = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
RECORD = "v=DKIM1; k=rsa; p=" + "".join(PUBLIC.decode().splitlines()[1:-1])
DNS = {"s._domainkey.x.example.": RECORD}
MAIL = b"From: a@x.example\r\nTo: b@y.example\r\nSubject: hello\r\n\r\nText\r\n"


def signed() -> bytes:
    signature: bytes = dkim.sign(MAIL, b"s", b"x.example", PEM)
    return signature + MAIL


def test_only_valid_signatures_count() -> None:
    mail = signed()
    assert count_valid([mail], DNS) == 1
    assert count_valid([mail.replace(b"Text", b"Tex7")], DNS) == 0
    assert count_valid([mail], {}) == 0
    assert count_valid([MAIL], DNS) == 0


def test_one_invalid_signature_of_two_makes_the_message_invalid() -> None:
    mail = signed()
    assert count_valid([mail, signed()], DNS) == 2
    forged = mail.partition(b"From:")[0].replace(b"d=x.example", b"d=z.example")
    assert count_valid([forged + mail], DNS) == 0
