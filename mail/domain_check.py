"""What a domain publishes against what it should: SPF RFC 7208, DKIM RFC 6376, DMARC RFC 9989.

One check per expected record, with a reason that a person can act on. Looking up is the caller's;
what could not be looked up is told as such and is nobody's fault.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mail.dkim_verify import key_problem, parse_tags
from mail.records import Purpose, Record

Published = Mapping[tuple[str, str], Sequence[str] | None]
"""(name, type) to the values found: none when there is no such record, None when DNS failed.

MX values look like `10 mx.example.com`; TXT values are joined and unquoted.
"""

_LOOKUPS = re.compile(
    r"(?:^|\s)[+?~-]?(?:include:|a(?:[:/\s]|$)|mx(?:[:/\s]|$)|ptr|exists:)|redirect="
)
_DMARC = re.compile(r"\s*v\s*=\s*DMARC1\s*(?:;|$)")  # RFC 9989 §4.7: first, and in this case
_POLICIES = frozenset(("none", "quarantine", "reject"))


class Status(StrEnum):
    """How good a record is."""

    OK = "ok"
    WEAK = "weak"  # works, and could be better
    MISSING = "missing"
    WRONG = "wrong"
    UNKNOWN = "unknown"  # DNS did not answer


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """The judgement of one record. `reason` says what to do; empty when all is well."""

    record: Record
    status: Status
    reason: str = ""
    found: tuple[str, ...] = ()


Assessment = tuple[Status, str]
_OK: Assessment = (Status.OK, "")


def check_records(expected: Sequence[Record], published: Published) -> tuple[RecordCheck, ...]:
    """A check for each expected record, in their order."""
    return tuple(_check_record(record, published) for record in expected)


def is_ready_to_send(checks: Sequence[RecordCheck]) -> bool:
    """Whether all that is required is there; a DNS that does not answer is not yet a yes."""
    good = (Status.OK, Status.WEAK)
    return all(check.status in good for check in checks if check.record.required)


def _check_record(record: Record, published: Published) -> RecordCheck:
    values = published.get((record.name, record.type), ())
    if values is None:
        return RecordCheck(
            record, Status.UNKNOWN, f"DNS did not answer for {record.name}: try again"
        )
    status, reason = _CHECKS[record.purpose](record, values)
    return RecordCheck(record, status, reason, tuple(values))


def _spf(record: Record, values: Sequence[str]) -> Assessment:
    found = [v for v in values if v.lower() == "v=spf1" or v.lower().startswith("v=spf1 ")]
    if not found:
        return Status.MISSING, f"publish a TXT record at {record.name}: {record.value}"
    if len(found) > 1:
        return Status.WRONG, f"{record.name} has {len(found)} SPF records: only one may exist"
    # A plus is the default, and so is the dot at the end of a domain (RFC 7208 §4.6.2, §7.1).
    terms = [term.lstrip("+").rstrip(".") for term in found[0].lower().split()]
    expected = next(term for term in record.value.split() if term.startswith("include:"))
    expected = expected.lower().rstrip(".")
    if expected not in terms:
        return Status.WRONG, f"the SPF record of {record.name} lacks {expected}"
    return _spf_ending(found[0].lower(), terms, expected)


def _spf_ending(text: str, terms: list[str], expected: str) -> Assessment:
    if terms[-1] == "all":
        return Status.WRONG, "the SPF record ends in +all, which allows everybody: use -all"
    closing = next((i for i, term in enumerate(terms) if term.lstrip("?~-") == "all"), len(terms))
    if closing < terms.index(expected):
        return Status.WRONG, f"{expected} stands behind `all` and is never read: move it before"
    if len(_LOOKUPS.findall(text)) > 10:
        return Status.WRONG, "the SPF record needs more than 10 DNS lookups, which makes it void"
    if closing == len(terms) and "redirect=" not in text:
        return Status.WEAK, "the SPF record has no end: add -all"
    return _OK


def _dkim(record: Record, values: Sequence[str]) -> Assessment:
    if not values:
        return Status.MISSING, f"publish a TXT record at {record.name}: {record.value}"
    if len(values) > 1:
        return Status.WRONG, f"{record.name} has {len(values)} TXT records: keep only the key"
    return _dkim_key(record, values[0])


def _dkim_key(record: Record, value: str) -> Assessment:
    """Ours, and one that a verifier takes: which it does not say by looking like ours."""
    expected, found = parse_tags(record.value), parse_tags(value)
    key = re.sub(r"\s", "", found.get("p", ""))
    if key and key != expected["p"]:
        cut = " (it is cut off: DNS panels cut at 255)" if expected["p"].startswith(key) else ""
        return Status.WRONG, f"the key at {record.name} is not ours{cut}: publish {record.value}"
    if problem := key_problem(value, expected.get("k", "rsa")):
        return Status.WRONG, f"of no use at {record.name}, {problem}: publish {record.value}"
    if "y" in found.get("t", "").split(":"):
        return Status.WEAK, f"the key at {record.name} says t=y, testing: receivers may ignore it"
    return _OK


def _dmarc(record: Record, values: Sequence[str]) -> Assessment:
    found = [value for value in values if _DMARC.match(value)]
    if not found:
        return Status.MISSING, f"publish a TXT record at {record.name}: {record.value}"
    if len(found) > 1:
        return Status.WRONG, f"{record.name} has {len(found)} DMARC records: none of them counts"
    tags = parse_tags(found[0])
    policy = tags.get("p", "none").lower()
    if not tags or policy not in _POLICIES:
        return Status.WRONG, "the DMARC policy is none of p=none, p=quarantine and p=reject"
    if tags.get("aspf", "r") == "s":
        return Status.WEAK, "aspf=s: our return path is under your domain, so only DKIM aligns"
    if "rua" not in tags:
        return Status.WEAK, "the DMARC record has no rua=, so no reports arrive"
    return _OK


def _return_path(record: Record, values: Sequence[str]) -> Assessment:
    hosts = [value.split()[-1].lower().rstrip(".") for value in values if value.split()]
    if not hosts:
        return (
            Status.MISSING,
            f"publish an MX record at {record.name}: {record.priority} {record.value}",
        )
    if record.value.lower().rstrip(".") not in hosts:
        return Status.WRONG, f"the MX of {record.name} is {hosts[0]}: it has to be {record.value}"
    if len(set(hosts)) > 1:
        return Status.WEAK, f"{record.name} has other MX hosts too: bounces to them are lost"
    return _OK


_CHECKS: Mapping[Purpose, Callable[[Record, Sequence[str]], Assessment]] = {
    Purpose.SPF: _spf,
    Purpose.DKIM: _dkim,
    Purpose.DMARC: _dmarc,
    Purpose.RETURN_PATH: _return_path,
}
