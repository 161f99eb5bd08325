"""What CAA records say about who may certify a host: RFC 8659."""

import re
from collections.abc import Sequence
from typing import NamedTuple

CRITICAL = 128  # of the flags: who does not know the property must not issue (§4.1)
# Of §4.2 to §4.4, RFC 9495, and the registry: authorities that must know more say so themselves.
KNOWN = frozenset(
    ("issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone")
)

NAMED_MAX = 3  # authorities, in words
_NAME = re.compile(r"[a-z0-9.-]{1,253}")


class CaaRecord(NamedTuple):
    """flags, tag, value: as in the record; the tag in lower case."""

    flags: int
    tag: str
    value: str


class CaaRecords(NamedTuple):
    """Those that count for a host, and the name that has them: the nearest at or above it."""

    name: str
    records: Sequence[CaaRecord]


def refusal(found: CaaRecords, identities: Sequence[str]) -> str:
    """Why an authority may not certify the host, with what to publish; empty if it may, as far as
    names say. identities: of the authority, as such records have it; not empty. Parameters of a
    record (RFC 8657) are the authority's to check."""
    records = found.records
    if unknown := [one.tag for one in records if one.flags & CRITICAL and one.tag not in KNOWN]:
        return (
            f"The CAA records of {found.name} have the property {unknown[0]!r} and declare it"
            " critical, so an authority that does not know it must not issue. Remove it."
        )
    issuers = [_issuer(one.value) for one in records if one.tag == "issue"]
    if not issuers or any(one.lower() in issuers for one in identities):
        return ""
    others = ", ".join(sorted({one for one in issuers if _NAME.fullmatch(one)})[:NAMED_MAX])
    return (
        f"The CAA records of {found.name} let only {others or 'nobody'} issue certificates."
        f' Add to them: 0 issue "{identities[0]}"'
    )


def _issuer(value: str) -> str:
    """The domain name of the issuer, in lower case; empty for nobody (§4.2)."""
    return value.partition(";")[0].strip(" \t").lower()


def refused_advice(host: str, identities: Sequence[str]) -> str:
    """What to publish if an authority has refused for such records. Those where the CNAME of the
    host leads count, or else those of the nearest domain above it that has any (§3)."""
    who = identities[0] if identities else "the name of the authority"
    domain = host.partition(".")[2]
    where = f"the CAA records of {domain}, or of the domain above it that has them"
    return f'Add to {where}: 0 issue "{who}"'
