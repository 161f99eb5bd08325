"""Verifying DKIM: RFC 6376 §6, RFC 8301, RFC 8463, sans-I/O.

`signatures` says what a message carries and which DNS name each needs; `check` takes the TXT record
that was found there. Looking up and deciding what to trust are the caller's.
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
# The tag is the first or behind a semicolon: a folded value may end in `b=` too.
_EMPTY_B = re.compile(rb"((?:;|\A[^:;]*:)\s*b\s*=)[^;]*")
_BREAK = re.compile(rb"(?<=\r\n)(?![ \t])")
_SPACE = re.compile(r"\s+")


class Result(StrEnum):
    """RFC 8601 §2.7.1."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    PERMERROR = "permerror"
    TEMPERROR = "temperror"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one signature, with a reason for whoever has to mend it."""

    result: Result
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM-Signature: its tags, and its place among the fields of the message."""

    tags: dict[str, str]
    index: int

    @property
    def domain(self) -> str:
        """`d=`, in lower case."""
        return self.tags.get("d", "").lower()

    @property
    def dns_name(self) -> str:
        """Where the key's TXT record is."""
        return f"{self.tags.get('s', '')}._domainkey.{self.domain}"


@dataclass(frozen=True, slots=True)
class Message:
    """A message taken apart once for all its signatures; line ends made CRLF."""

    fields: tuple[bytes, ...]
    body: bytes

    def signatures(self) -> list[Signature]:
        """The DKIM-Signature fields, from the top, at most ten."""
        return list(_signatures(self.fields))[:MAX_SIGNATURES]


def read(raw: bytes) -> Message:
    """A message as it arrived."""
    normal = smtp.normalise(raw)
    head, body = parser.split(normal)
    fields = _BREAK.split(head + b"\r\n") if head else []
    return Message(tuple(field for field in fields if field), body)


def _signatures(fields: tuple[bytes, ...]) -> Iterator[Signature]:
    for index, field in enumerate(fields):
        name, colon, value = field.partition(b":")
        if colon and name.strip().lower() == b"dkim-signature":
            yield Signature(parse_tags(value.decode("utf-8", "replace")), index)


def parse_tags(value: str) -> dict[str, str]:
    """A tag list (RFC 6376 §3.2); a name given twice makes the list empty, as it is invalid."""
    found: dict[str, str] = {}
    for part in value.split(";"):
        name, equals, given = part.partition("=")
        name = name.strip()
        if name in found:
            return {}
        if equals and _TAG_NAME.fullmatch(name):
            found[name] = given.strip()
    return found


def check(given: Message, signature: Signature, record: str | None, *, now: int) -> Verdict:
    """The verdict on one signature.

    `record`: the TXT value at `signature.dns_name`, or None when there is none. `now`: in Unix
    seconds, for `x=`.
    """
    problem = _problem(signature.tags, now)
    if problem:
        return Verdict(Result.PERMERROR, problem)
    if record is None:
        return Verdict(Result.PERMERROR, f"no key at {signature.dns_name}")
    key = _key(record, signature.tags["a"].partition("-")[0])
    if isinstance(key, str):
        return Verdict(Result.PERMERROR, key)
    body_mode = signature.tags.get("c", "simple/simple").partition("/")[2] or "simple"
    if _body_hash(given.body, body_mode) != _bytes(signature.tags["bh"]):
        return Verdict(Result.FAIL, "the body was changed after it was signed")
    digest = sha256(_signed(given, signature)).digest()
    if not _verifies(key, _bytes(signature.tags["b"]), digest):
        return Verdict(Result.FAIL, "a signed header was changed or added after signing")
    return Verdict(Result.PASS)


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
        "a part of the body only is signed (l=)": "l" in tags,
        "its canonicalisation is unknown": tags.get("c", "simple") not in _MODES,
        "its query method is unknown": "dns/txt" not in tags.get("q", "dns/txt"),
    }
    return next((text for text, wrong in problems.items() if wrong), "")


_MODES = frozenset(
    ("simple", "relaxed", "simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")
)


def key_problem(record: str, kind: str) -> str:
    """Why no verifier uses the key in a TXT record for signatures of a kind; empty when they do.

    kind: "rsa" or "ed25519".
    """
    key = _key(record, kind)
    return key if isinstance(key, str) else ""


def _key(record: str, kind: str) -> RSAPublicKey | Ed25519PublicKey | str:
    """The public key in a record, or what is wrong with it."""
    tags = parse_tags(record)
    if not _TAG_LIST.fullmatch(record) or tags.get("v", "DKIM1") != "DKIM1" or "p" not in tags:
        return "the record is not a DKIM key"
    if not tags["p"]:
        return "the key was revoked"
    if tags.get("k", "rsa") != kind or not _allows(tags):
        return "the key is for something else"
    try:
        raw = _bytes(tags["p"])
        key = (
            Ed25519PublicKey.from_public_bytes(raw)
            if kind == "ed25519"
            else load_der_public_key(raw)
        )
    except ValueError:
        return "the key in the record is broken"
    if kind == "rsa" and not (isinstance(key, RSAPublicKey) and key.key_size >= 1024):
        return "the key is not RSA of 1024 bits or more (RFC 8301)"
    return (
        key if isinstance(key, RSAPublicKey | Ed25519PublicKey) else "the key is of no known kind"
    )


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


def _signed(given: Message, signature: Signature) -> bytes:
    """What the header hash is over: the fields of `h=` from the bottom up, then the signature."""
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
