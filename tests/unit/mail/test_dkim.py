import re
from datetime import UTC, datetime

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from mail import dkim_canonicalization
from mail.address import parse_mailbox
from mail.compose import ComposedMessage, Email, compose
from mail.dkim import Signer, body_hash, character_strings, dkim_record, sign_all, zone_text
from mail.headers import encode_field
from mail.smtp import normalize_line_endings
from tests.support.rsa_key import RSA_KEY

RSA = RSA_KEY
ED = ed25519.Ed25519PrivateKey.generate()
SIGNER = Signer("a.example", "r1", RSA, "e1", ED)
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def dns(name: bytes, timeout: int = 5) -> bytes:
    key = RSA.public_key() if name.startswith(b"r1.") else ED.public_key()
    return dkim_record(key).encode()


def verified(raw: bytes) -> list[bool]:
    """dkimpy's results for both signatures."""

    def one(index: int) -> bool:
        try:
            return bool(dkimpy.DKIM(raw).verify(index, dnsfunc=dns))
        except dkimpy.DKIMException:
            return False

    return [one(0), one(1)]


def message(text: str = "Hello\n\nworld  and\tmore \n\n\n") -> ComposedMessage:
    email = Email(
        from_=parse_mailbox("Ann <a@a.example>"),
        to=(parse_mailbox("b@b.example"),),
        subject="Grüße an alle",
        date=NOW,
        message_id="1@a.example",
        headers={
            "List-Unsubscribe": "<https://a.example/u/1>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
        text=text,
        html="<p>Hello</p>",
    )
    return compose(email)


def signed(composed: ComposedMessage) -> bytes:
    return SIGNER.sign(composed.headers, composed.body, NOW) + composed.as_bytes()


def test_another_implementation_verifies_both_signatures() -> None:
    assert verified(signed(message())) == [True, True]


@given(st.text(st.sampled_from("ab \t\r\n.é="), max_size=120))
def test_both_signatures_verify_for_any_text(text: str) -> None:
    assert verified(signed(message(text))) == [True, True]


@pytest.mark.parametrize("name", [b"Subject", b"From", b"To", b"Cc", b"Date", b"Reply-To"])
def test_a_header_added_afterwards_breaks_the_signature(name: bytes) -> None:
    raw = signed(message())
    assert verified(name + b": evil@c.example\r\n" + raw) == [False, False]


def test_refolded_white_space_does_not_break_the_signature() -> None:
    raw = signed(message())
    head, _, body = raw.partition(b"\r\n\r\n")
    head = head.replace(b"; ", b";\r\n   ").replace(b"Subject: ", b"Subject:   ")
    body = body.replace(b" ", b"   ") + b"\r\n\r\n"
    assert verified(head + b"\r\n\r\n" + body) == [True, True]


def test_one_changed_letter_breaks_the_signature() -> None:
    raw = signed(message())
    assert verified(raw.replace(b"Hello", b"Hallo", 1)) == [False, False]


def test_one_click_unsubscribe_is_covered_by_both_signatures() -> None:
    sign = SIGNER.sign(message().headers, message().body, NOW)
    named = [re.sub(rb"\s", b"", h) for h in re.findall(rb"\th=([^;]*);", sign.lower())]
    assert len(named) == 2
    for names in named:
        assert b"list-unsubscribe:list-unsubscribe:" in names
        assert b"list-unsubscribe-post:list-unsubscribe-post" in names


def test_signature_lines_are_short_and_no_length_is_given() -> None:
    sign = SIGNER.sign(message().headers, message().body, NOW)
    assert max(map(len, sign.split(b"\r\n"))) <= 78
    assert b" l=" not in sign
    assert b"t=%d;" % NOW.timestamp() in sign


def test_one_key_gives_one_signature() -> None:
    composed = message()
    for signer in (
        Signer("a.example", rsa_selector="r1", rsa_key=RSA),
        Signer("a.example", ed_selector="e1", ed_key=ED),
    ):
        out = signer.sign(composed.headers, composed.body, NOW)
        assert out.count(b"DKIM-Signature:") == 1
    with pytest.raises(ValueError, match="no DKIM key"):
        Signer("a.example")


def test_recipients_of_one_body_share_its_hash() -> None:
    composed = message()
    other = composed.with_headers(
        encode_field("X-Other", "1"), encode_field("List-Id", "a.example")
    )
    hashed = body_hash(composed.body)
    unsigned = [SIGNER.prepare(one.headers, hashed, NOW) for one in (composed, other)]
    assert sign_all(unsigned) == [
        SIGNER.sign(one.headers, composed.body, NOW) for one in (composed, other)
    ]


def test_domains_with_different_keys_are_signed_together() -> None:
    composed = message()
    signers = [
        Signer("a.example", rsa_selector="r1", rsa_key=RSA),
        Signer("a.example", ed_selector="e1", ed_key=ED),
        SIGNER,
    ]
    hashed = body_hash(composed.body)
    rsa, ed, both = sign_all([one.prepare(composed.headers, hashed, NOW) for one in signers])
    assert both == rsa + ed


def test_the_last_of_equal_fields_is_signed_first() -> None:
    first, last = (encode_field("List-Id", name) for name in ("first.example", "last.example"))
    composed = message().with_headers(first, last)
    assert verified(signed(composed)) == [True, True]


def test_the_record_is_split_for_dns() -> None:
    value = dkim_record(RSA.public_key())
    assert value.startswith("v=DKIM1; k=rsa; p=")
    assert "".join(character_strings(value)) == value
    assert max(map(len, character_strings(value))) <= 255
    assert zone_text(value).count('"') == 2 * len(character_strings(value))
    assert dkim_record(ED.public_key()).startswith("v=DKIM1; k=ed25519; p=")


def slowly(body: bytes) -> bytes:
    """RFC 6376 §3.4.4, implemented line by line."""
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


@given(st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b"  ", b"\r\n\r\n"])).map(b"".join))
def test_canonicalization_of_whole_bytes_matches_the_rfc(body: bytes) -> None:
    assert dkim_canonicalization.relaxed_body(body) == slowly(body)


def test_large_and_small_bodies_are_canonicalized_equally() -> None:
    line = b"<td>  a" + b" " * 13 + b"b   </td> \r\n"
    count = (1 << 20) // len(line) + 1
    assert (
        dkim_canonicalization.relaxed_body(line * count)
        == dkim_canonicalization.relaxed_body(line) * count
    )


@given(st.binary(max_size=200).map(normalize_line_endings))
def test_simple_canonicalization_ends_in_one_line_end(body: bytes) -> None:
    out = dkim_canonicalization.simple_body(body)
    assert out.endswith(b"\r\n")
    assert not out.endswith(b"\r\n\r\n") or out == b"\r\n"
    assert out.rstrip(b"\r\n") == body.rstrip(b"\r\n")


def test_a_folded_long_subject_verifies() -> None:
    composed = message().with_headers(
        encode_field("X-Long", "word " * 60), encode_field("References", "<a@b> " * 30)
    )
    assert verified(signed(composed)) == [True, True]
