"""Verifying DKIM: RFC 6376 §6, RFC 8301, RFC 8463, sans-I/O.

`Message.signatures` returns a message's signatures with the DNS names of their keys; `check` takes
the TXT record at that name. The caller does the lookup and decides which domains to trust.
"""

import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mail import dkim_canonicalization, parser, smtp

MAX_SIGNATURES = 10
_TAG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TAG = r"\s*[A-Za-z][A-Za-z0-9_]*\s*=[^;]*"
_TAG_LIST = re.compile(rf"{_TAG}(?:;{_TAG})*;?\s*")
# The tag is the first or follows a semicolon: a folded value can end in `b=` too.
_EMPTY_B = re.compile(rb"((?:;|\A[^:;]*:)\s*b\s*=)[^;]*")
_BREAK = re.compile(rb"(?<=\r\n)(?![ \t])")
_SPACE = re.compile(r"\s+")


class DkimResult(StrEnum):
    """Results of RFC 8601 §2.7.1."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    PERMERROR = "permerror"
    TEMPERROR = "temperror"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """The result for one signature; `reason` explains a failure."""

    result: DkimResult
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM-Signature: its tags, and its index among the fields of the message."""

    tags: dict[str, str]
    index: int

    @property
    def domain(self) -> str:
        """`d=`, in lower case."""
        return self.tags.get("d", "").lower()

    @property
    def dns_name(self) -> str:
        """The name of the key's TXT record."""
        return f"{self.tags.get('s', '')}._domainkey.{self.domain}"


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message, parsed once for all its signatures, with CRLF line ends."""

    fields: tuple[bytes, ...]
    body: bytes

    def signatures(self) -> list[Signature]:
        """The DKIM-Signature fields, from the top, at most ten."""
        return list(_signatures(self.fields))[:MAX_SIGNATURES]


def parse_received(raw: bytes) -> ReceivedMessage:
    """Parse a message as received."""
    normal = smtp.normalize_line_endings(raw)
    head, body = parser.split_header(normal)
    fields = _BREAK.split(head + b"\r\n") if head else []
    return ReceivedMessage(tuple(field for field in fields if field), body)


def _signatures(fields: tuple[bytes, ...]) -> Iterator[Signature]:
    for index, field in enumerate(fields):
        name, colon, value = field.partition(b":")
        if colon and name.strip().lower() == b"dkim-signature":
            yield Signature(parse_tags(value.decode("utf-8", "replace")), index)


def parse_tags(value: str) -> dict[str, str]:
    """A tag list (RFC 6376 §3.2); empty if a name is repeated, which is invalid."""
    found: dict[str, str] = {}
    for part in value.split(";"):
        name, equals, given = part.partition("=")
        name = name.strip()
        if name in found:
            return {}
        if equals and _TAG_NAME.fullmatch(name):
            found[name] = given.strip()
    return found


def verify_signature(
    given: ReceivedMessage, signature: Signature, record: str | None, *, now: int
) -> VerificationResult:
    """The result for one signature.

    `record`: the TXT value at `signature.dns_name`, or None if there is none. `now`: in Unix
    seconds, for `x=`.
    """
    problem = _problem(signature.tags, now)
    if problem:
        return VerificationResult(DkimResult.PERMERROR, problem)
    if record is None:
        return VerificationResult(DkimResult.PERMERROR, f"no key at {signature.dns_name}")
    key = _key(record, signature.tags["a"].partition("-")[0])
    if isinstance(key, str):
        return VerificationResult(DkimResult.PERMERROR, key)
    body_mode = signature.tags.get("c", "simple/simple").partition("/")[2] or "simple"
    if _body_hash(given.body, body_mode) != _bytes(signature.tags["bh"]):
        return VerificationResult(DkimResult.FAIL, "the body was changed after it was signed")
    digest = sha256(_signed(given, signature)).digest()
    if not _verifies(key, _bytes(signature.tags["b"]), digest):
        return VerificationResult(
            DkimResult.FAIL, "a signed header was changed or added after signing"
        )
    return VerificationResult(DkimResult.PASS)


def _problem(tags: dict[str, str], now: int) -> str:
    missing = [name for name in ("v", "a", "b", "bh", "d", "h", "s") if not tags.get(name)]
    if missing:
        return f"the signature has no {missing[0]}="
    names = _SPACE.sub("", tags["h"]).lower().split(":")
    identity = tags.get("i", "").rpartition("@")[2].lower() or tags["d"].lower()
    problems = {
        "its version is not 1": tags["v"] != "1",
        f"{tags['a']} is not allowed (RFC 8301)": tags["a"] not in ("rsa-sha256", "ed25519-sha256"),
        "From is not signed": "from" not in names,
        "i= is not under d=": not f".{identity}".endswith(f".{tags['d'].lower()}"),
        "it has expired": tags.get("x", "").isdecimal() and int(tags["x"]) < now,
        "only part of the body is signed (l=)": "l" in tags,
        "its canonicalization is unknown": tags.get("c", "simple") not in _MODES,
        "its query method is unknown": "dns/txt" not in tags.get("q", "dns/txt"),
    }
    return next((text for text, wrong in problems.items() if wrong), "")


_MODES = frozenset(
    ("simple", "relaxed", "simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")
)


def key_problem(record: str, kind: str) -> str:
    """Why verifiers reject the key in a TXT record for signatures of a kind; empty if they accept
    it.

    kind: "rsa" or "ed25519".
    """
    key = _key(record, kind)
    return key if isinstance(key, str) else ""


def _key(record: str, kind: str) -> RSAPublicKey | Ed25519PublicKey | str:
    """The public key in a record, or the problem with it."""
    tags = parse_tags(record)
    if not _TAG_LIST.fullmatch(record) or tags.get("v", "DKIM1") != "DKIM1" or "p" not in tags:
        return "the record is not a DKIM key"
    if not tags["p"]:
        return "the key was revoked"
    if tags.get("k", "rsa") != kind or not _allows(tags):
        return "the key is for another algorithm or service"
    try:
        raw = _bytes(tags["p"])
        key = (
            Ed25519PublicKey.from_public_bytes(raw)
            if kind == "ed25519"
            else load_der_public_key(raw)
        )
    except ValueError:
        return "the key in the record cannot be decoded"
    if kind == "rsa" and not (isinstance(key, RSAPublicKey) and key.key_size >= 1024):
        return "the key is not RSA of 1024 bits or more (RFC 8301)"
    return key if isinstance(key, RSAPublicKey | Ed25519PublicKey) else "the key type is unknown"


def _allows(tags: dict[str, str]) -> bool:
    hashes = _SPACE.sub("", tags.get("h", "sha256")).split(":")
    services = _SPACE.sub("", tags.get("s", "*")).split(":")
    return "sha256" in hashes and bool({"*", "email"} & set(services))


def _bytes(coded: str) -> bytes:
    try:
        return b64decode(_SPACE.sub("", coded), validate=True)
    except ValueError:
        return b""


def _body_hash(body: bytes, mode: str) -> bytes:
    form = (
        dkim_canonicalization.relaxed_body
        if mode == "relaxed"
        else dkim_canonicalization.simple_body
    )
    return sha256(form(body)).digest()


def _signed(given: ReceivedMessage, signature: Signature) -> bytes:
    """The input of the header hash: the fields of `h=` from the bottom up, then the signature."""
    mode = signature.tags.get("c", "simple").partition("/")[0]
    unused: dict[bytes, list[bytes]] = {}
    for field in given.fields:
        unused.setdefault(field.partition(b":")[0].strip().lower(), []).append(field)
    names = _SPACE.sub("", signature.tags["h"]).lower().encode("utf-8").split(b":")
    chosen = [unused[name].pop() for name in names if unused.get(name)]
    own = _EMPTY_B.sub(rb"\1", given.fields[signature.index].removesuffix(b"\r\n"), count=1)
    if mode == "relaxed":
        lines = [dkim_canonicalization.relaxed_header(field) + b"\r\n" for field in chosen]
        return b"".join(lines) + dkim_canonicalization.relaxed_header(own)
    return b"".join(chosen) + own


def _verifies(key: RSAPublicKey | Ed25519PublicKey, signature: bytes, digest: bytes) -> bool:
    try:
        if isinstance(key, RSAPublicKey):
            key.verify(signature, digest, PKCS1v15(), Prehashed(SHA256()))
        else:
            key.verify(signature, digest)
    except InvalidSignature:
        return False
    return True
