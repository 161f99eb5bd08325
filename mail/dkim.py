"""DKIM signing: RFC 6376, RFC 8301 (RSA-SHA256 only, keys of 2048 bits), RFC 8463 (Ed25519).

Both signatures are made in one pass over the body, relaxed/relaxed, without `l=`. The fields that a
reader sees or a client acts on are oversigned (§8.15): named once more in `h=` than they occur, so
that a second Subject, From or To added on the way breaks the signature.
"""

from base64 import b64encode
from collections import defaultdict
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

from mail import canonical

_PADDING = PKCS1v15()
_PREHASHED = Prehashed(SHA256())

# Signed once more than they occur, also when they do not occur at all.
OVERSIGNED = (
    b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"reply-to", b"mime-version",
    b"content-type", b"list-unsubscribe", b"list-unsubscribe-post",
)  # fmt: skip
# Signed, and oversigned, when they occur: a mailing list may add the other List-*.
IF_PRESENT = (
    b"sender", b"in-reply-to", b"references", b"content-transfer-encoding", b"content-id",
    b"content-description", b"list-id", b"list-help", b"list-subscribe", b"list-post",
    b"list-owner", b"list-archive", b"auto-submitted", b"feedback-id",
)  # fmt: skip
_OPTIONAL = frozenset(IF_PRESENT)
_NAMED = frozenset(OVERSIGNED + IF_PRESENT)
_FOLD = b"\r\n\t"
_B_LINE = 72


@dataclass(frozen=True, slots=True)
class Signer:
    """The keys of one domain. Give both for two signatures, or one of them.

    Keys are loaded objects. Signing with RSA releases the interpreter's lock: call from threads.
    """

    domain: str
    rsa_selector: str | None = None
    rsa_key: RSAPrivateKey | None = None
    ed_selector: str | None = None
    ed_key: Ed25519PrivateKey | None = None
    _lists: dict[tuple[bytes, ...], tuple[bytes, tuple[bytes, ...]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        rsa = self.rsa_key is not None and self.rsa_selector is not None
        ed = self.ed_key is not None and self.ed_selector is not None
        if not (rsa or ed):
            raise ValueError(f"no DKIM key with a selector for {self.domain}")
        if self.rsa_key is not None and self.rsa_key.key_size < 1024:
            raise ValueError("an RSA key under 1024 bits must not sign (RFC 8301)")

    def sign(
        self,
        headers: Sequence[bytes],
        body: bytes,
        now: datetime,
        *,
        hashed: bytes | None = None,
    ) -> bytes:
        """The DKIM-Signature fields to put on top of the message, each with its CRLF.

        `headers`: the fields, each whole (folded or not) with its CRLF, as in `Composed.headers`.
        `body`: with CRLF line ends, before dot-stuffing. `now`: aware; becomes `t=`. `hashed`:
        the `body_hash` of the body, where recipients share one.
        """
        if hashed is None:
            hashed = body_hash(body)
        names, signed = self._signed(headers)
        stamp = b"t=%d;%bbh=%b;%bh=%b;" % (int(now.timestamp()), _FOLD, hashed, _FOLD, names)
        out = b""  # RSA on top: some verifiers look at the first signature only
        if self.rsa_key is not None and self.rsa_selector is not None:
            start = self._start(b"rsa-sha256", self.rsa_selector, stamp)
            digest = _digest(signed, start)
            out += _finish(start, self.rsa_key.sign(digest, _PADDING, _PREHASHED))
        if self.ed_key is not None and self.ed_selector is not None:
            start = self._start(b"ed25519-sha256", self.ed_selector, stamp)
            digest = _digest(signed, start)
            out += _finish(start, self.ed_key.sign(digest))
        return out

    def _start(self, algorithm: bytes, selector: str, stamp: bytes) -> bytes:
        return b"DKIM-Signature: v=1; a=%b; c=relaxed/relaxed;%bd=%b; s=%b; %b%bb=" % (
            algorithm, _FOLD, self.domain.encode("ascii"), selector.encode("ascii"), stamp, _FOLD,
        )  # fmt: skip

    def _signed(self, headers: Sequence[bytes]) -> tuple[bytes, bytes]:
        """The value of `h=` and the canonical fields it names, in its order."""
        found: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for item in headers:
            name = item[: item.index(b":")].rstrip(b" \t").lower()
            if name in _NAMED:
                found[name].append(item)
        shape = tuple(f for name in found for f in (name, b"%d" % len(found[name])))
        cached = self._lists.get(shape)
        if cached is None:
            cached = self._remember(shape, {name: len(items) for name, items in found.items()})
        names, order = cached
        lines = [
            name + b":" + canonical.relaxed_value(item[item.index(b":") + 1 :]) + b"\r\n"
            for name in order
            for item in reversed(found[name])  # the last one first (§5.4.2)
        ]
        return names, b"".join(lines)

    def _remember(
        self, shape: tuple[bytes, ...], counts: dict[bytes, int]
    ) -> tuple[bytes, tuple[bytes, ...]]:
        """`h=` for the set of fields of a message; a domain's messages have few different sets."""
        if len(self._lists) >= 256:
            self._lists.clear()
        chosen = [*OVERSIGNED, *(name for name in IF_PRESENT if name in counts)]
        names = [name for name in chosen for _ in range(counts.get(name, 0) + 1)]
        order = tuple(name for name in chosen if name in counts)
        self._lists[shape] = (b":".join(_folded(names)), order)
        return self._lists[shape]


def body_hash(body: bytes) -> bytes:
    """`bh=` of a body (§3.7): what signing it for the next recipient need not do again."""
    return b64encode(sha256(canonical.relaxed_body(body)).digest())


def _folded(names: Sequence[bytes]) -> Iterator[bytes]:
    """The names with a line break before one that would pass column 72."""
    column = 3
    for name in names:
        column += len(name) + 1
        if column > _B_LINE:
            column = len(name) + 1
            yield _FOLD + name
        else:
            yield name


def _digest(signed: bytes, start: bytes) -> bytes:
    """The hash that is signed: the named fields, then this one with an empty `b=` (§3.7)."""
    value = start[len(b"DKIM-Signature: ") :].replace(_FOLD, b" ")
    return sha256(signed + b"dkim-signature:" + value).digest()


def _finish(start: bytes, signature: bytes) -> bytes:
    coded = b64encode(signature)
    lines = [coded[i : i + _B_LINE] for i in range(0, len(coded), _B_LINE)]
    return start + _FOLD.join(lines) + b"\r\n"


def dkim_record(public_key: RSAPublicKey | Ed25519PublicKey) -> str:
    """The TXT value for `<selector>._domainkey.<domain>` (§3.6.1, RFC 8463 §4), unquoted.

    May be longer than the 255 octets of one character-string: see `chunks`.
    """
    if isinstance(public_key, RSAPublicKey):
        der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"v=DKIM1; k=rsa; p={b64encode(der).decode('ascii')}"
    raw = public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"v=DKIM1; k=ed25519; p={b64encode(raw).decode('ascii')}"


def chunks(value: str) -> tuple[str, ...]:
    """A TXT value in character-strings of at most 255 octets (RFC 1035 §3.3.14)."""
    return tuple(value[i : i + 255] for i in range(0, len(value), 255)) or ("",)


def zone_text(value: str) -> str:
    """A TXT value as a zone file or a DNS panel takes it: quoted strings of at most 255 octets."""
    quoted = (chunk.replace("\\", "\\\\").replace('"', '\\"') for chunk in chunks(value))
    return " ".join(f'"{chunk}"' for chunk in quoted)
