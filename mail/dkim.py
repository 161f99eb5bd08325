"""DKIM signing: RFC 6376, RFC 8301 (RSA-SHA256 only, keys of 2048 bits), RFC 8463 (Ed25519).

Both signatures share one pass over the body; relaxed/relaxed, without `l=`. The fields that a
client displays or acts on are oversigned (§8.15): listed once more in `h=` than they occur, so that
a second Subject, From or To added in transit breaks the signature.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mail import dkim_canonicalization

_PADDING = PKCS1v15()
_PREHASHED = Prehashed(SHA256())

# Oversigned, even if they do not occur.
OVERSIGNED = (
    b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"reply-to", b"mime-version",
    b"content-type", b"list-unsubscribe", b"list-unsubscribe-post",
)  # fmt: skip
# Oversigned if they occur; a mailing list can add the other List-*.
IF_PRESENT = (
    b"sender", b"in-reply-to", b"references", b"content-transfer-encoding", b"content-id",
    b"content-description", b"list-id", b"list-help", b"list-subscribe", b"list-post",
    b"list-owner", b"list-archive", b"auto-submitted", b"feedback-id", b"x-report-token",
)  # fmt: skip
_NAMED = frozenset(OVERSIGNED + IF_PRESENT)
_FOLD = b"\r\n\t"
_B_LINE = 72
_FIELD_START = b"DKIM-Signature: "


@dataclass(frozen=True, slots=True)
class SignatureInput:
    """The input of one signature: the field up to its `b=`, and the digest to sign."""

    start: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class PendingSignatures:
    """The inputs that the keys of a domain must sign for one message."""

    signer: "Signer"
    rsa: SignatureInput | None
    ed: SignatureInput | None


@dataclass(frozen=True, slots=True)
class Signer:
    """The keys of one domain: RSA, Ed25519 or both, for one or two signatures.

    Keys are loaded objects. Signing with RSA releases the GIL, so threads can sign in parallel.
    """

    domain: str
    rsa_selector: str | None = None
    rsa_key: RSAPrivateKey | None = None
    ed_selector: str | None = None
    ed_key: Ed25519PrivateKey | None = None
    _lists: dict[tuple[bytes, ...], tuple[bytes, tuple[int, ...]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        rsa = self.rsa_key is not None and self.rsa_selector is not None
        ed = self.ed_key is not None and self.ed_selector is not None
        if not (rsa or ed):
            raise ValueError(f"no DKIM key with a selector for {self.domain}")
        if self.rsa_key is not None and self.rsa_key.key_size < 1024:
            raise ValueError("an RSA key under 1024 bits must not sign (RFC 8301)")

    def sign(self, headers: Sequence[bytes], body: bytes, now: datetime) -> bytes:
        """The DKIM-Signature fields to put on top of the message, each with its CRLF.

        `headers`: complete fields (folded or not), each with its CRLF, as in
        `ComposedMessage.headers`. `body`: with CRLF line ends, before dot-stuffing. `now`:
        timezone-aware; becomes `t=`.
        """
        return sign_all([self.prepare(headers, body_hash(body), now)])[0]

    def prepare(self, headers: Sequence[bytes], hashed: bytes, now: datetime) -> PendingSignatures:
        """Prepare the signatures without signing. `hashed`: the `body_hash`, shared by
        recipients."""
        names, signed = self._signed_fields(headers)
        stamp = b"t=%d;%bbh=%b;%bh=%b;" % (int(now.timestamp()), _FOLD, hashed, _FOLD, names)
        rsa = ed = None
        if self.rsa_key is not None and self.rsa_selector is not None:
            rsa = _signature_input(self._start(b"rsa-sha256", self.rsa_selector, stamp), signed)
        if self.ed_key is not None and self.ed_selector is not None:
            ed = _signature_input(self._start(b"ed25519-sha256", self.ed_selector, stamp), signed)
        return PendingSignatures(self, rsa, ed)

    def _start(self, algorithm: bytes, selector: str, stamp: bytes) -> bytes:
        return _FIELD_START + b"v=1; a=%b; c=relaxed/relaxed;%bd=%b; s=%b; %b%bb=" % (
            algorithm, _FOLD, self.domain.encode("ascii"), selector.encode("ascii"), stamp, _FOLD,
        )  # fmt: skip

    def _signed_fields(self, headers: Sequence[bytes]) -> tuple[bytes, bytes]:
        """The value of `h=`, and the canonical fields in its order."""
        cuts = [item.index(b":") for item in headers]
        found = [item[:cut].rstrip(b" \t").lower() for item, cut in zip(headers, cuts, strict=True)]
        shape = tuple([name if name in _NAMED else b"" for name in found])
        names, order = self._lists.get(shape) or self._remember(shape)
        values = [dkim_canonicalization.relaxed_value(headers[at][cuts[at] + 1 :]) for at in order]
        lines = [b"%b:%b\r\n" % (found[at], value) for at, value in zip(order, values, strict=True)]
        return names, b"".join(lines)

    def _remember(self, shape: tuple[bytes, ...]) -> tuple[bytes, tuple[int, ...]]:
        """Compute and cache `h=` and the positions of its fields; there are few shapes per
        domain."""
        if len(self._lists) >= 256:
            self._lists.clear()
        chosen = [*OVERSIGNED, *(name for name in IF_PRESENT if name in shape)]
        names = [name for name in chosen for _ in range(shape.count(name) + 1)]
        last_first = range(len(shape) - 1, -1, -1)  # §5.4.2
        order = tuple(at for name in chosen for at in last_first if shape[at] == name)
        listed = self._lists[shape] = b":".join(_folded(names)), order
        return listed  # not read again: another thread may clear the cache


def sign_all(messages: Sequence[PendingSignatures]) -> list[bytes]:
    """The DKIM-Signature fields of each message, as `Signer.sign` returns them.

    All RSA signatures are computed before all Ed25519 ones, which suits the CPU's caches. RSA comes
    first in the header, because some verifiers check only the first signature.
    """
    rsa = [_sign_rsa(one) for one in messages]
    ed = [_sign_ed(one) for one in messages]
    return [first + second for first, second in zip(rsa, ed, strict=True)]


def _sign_rsa(message: PendingSignatures) -> bytes:
    given, key = message.rsa, message.signer.rsa_key
    if given is None or key is None:
        return b""
    return _finish(given.start, key.sign(given.digest, _PADDING, _PREHASHED))


def _sign_ed(message: PendingSignatures) -> bytes:
    given, key = message.ed, message.signer.ed_key
    if given is None or key is None:
        return b""
    return _finish(given.start, key.sign(given.digest))


def body_hash(body: bytes) -> bytes:
    """`bh=` of a body (§3.7); compute it once for all recipients."""
    return b64encode(sha256(dkim_canonicalization.relaxed_body(body)).digest())


def _folded(names: Sequence[bytes]) -> Iterator[bytes]:
    """The names, with a line break before a name that would exceed column 72."""
    column = 3
    for name in names:
        column += len(name) + 1
        if column > _B_LINE:
            column = len(name) + 1
            yield _FOLD + name
        else:
            yield name


def _signature_input(start: bytes, signed: bytes) -> SignatureInput:
    """The signed hash: of the listed fields, then of this field with an empty `b=` (§3.7)."""
    value = start[len(_FIELD_START) :].replace(_FOLD, b" ")
    return SignatureInput(start, sha256(signed + b"dkim-signature:" + value).digest())


def _finish(start: bytes, signature: bytes) -> bytes:
    coded = b64encode(signature)
    lines = [coded[i : i + _B_LINE] for i in range(0, len(coded), _B_LINE)]
    return start + _FOLD.join(lines) + b"\r\n"


def dkim_record(public_key: RSAPublicKey | Ed25519PublicKey) -> str:
    """The TXT value for `<selector>._domainkey.<domain>` (§3.6.1, RFC 8463 §4), unquoted.

    It can exceed the 255 octets of one character-string: see `chunks`.
    """
    if isinstance(public_key, RSAPublicKey):
        der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"v=DKIM1; k=rsa; p={b64encode(der).decode('ascii')}"
    raw = public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"v=DKIM1; k=ed25519; p={b64encode(raw).decode('ascii')}"


def character_strings(value: str) -> tuple[str, ...]:
    """A TXT value in character-strings of at most 255 octets (RFC 1035 §3.3.14)."""
    return tuple(value[i : i + 255] for i in range(0, len(value), 255)) or ("",)


def zone_text(value: str) -> str:
    """A TXT value for a zone file or DNS panel: quoted strings of at most 255 octets."""
    quoted = (chunk.replace("\\", "\\\\").replace('"', '\\"') for chunk in character_strings(value))
    return " ".join(f'"{chunk}"' for chunk in quoted)
