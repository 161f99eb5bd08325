"""Checks the DNS records of a sending domain: SPF RFC 7208, DKIM RFC 6376, DMARC RFC 9989,
TLS-RPT RFC 8460.

One check per expected record, with a reason that says what to do. The caller does the lookups; a
failed lookup has its own status.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mail.dkim_verify import key_problem, parse_tags
from mail.records import DnsRecord, Purpose

Values = Sequence[str] | None
Published = Mapping[tuple[str, str], Values]
"""(name, type) to the values found: empty if there is no such record, None if the lookup failed.

MX values look like `10 mx.example.com`; TXT values are joined and unquoted. Type
CNAME: the target, if the name is an alias.
"""

_LOOKUPS = re.compile(
    r"(?:^|\s)[+?~-]?(?:include:|a(?:[:/\s]|$)|mx(?:[:/\s]|$)|ptr|exists:)|redirect="
)
_DMARC = re.compile(r"\s*v\s*=\s*DMARC1\s*(?:;|$)")  # RFC 9989 §4.7: first, and in this case
_TLS_RPT = re.compile(r"v=TLSRPTv1\s*;")  # RFC 8460 §3
_POLICIES = frozenset(("none", "quarantine", "reject"))


class CheckStatus(StrEnum):
    """The result of a check."""

    OK = "ok"
    WEAK = "weak"  # works, but should be improved
    MISSING = "missing"
    WRONG = "wrong"
    UNKNOWN = "unknown"  # the lookup failed


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """The check of one record. `reason` says what to do; empty if the record is correct."""

    record: DnsRecord
    status: CheckStatus
    reason: str = ""
    found: tuple[str, ...] = ()


Assessment = tuple[CheckStatus, str]
_OK: Assessment = (CheckStatus.OK, "")


def check_records(expected: Sequence[DnsRecord], published: Published) -> tuple[RecordCheck, ...]:
    """Check each expected record, in order."""
    return tuple(_check_record(record, published) for record in expected)


def is_ready_to_send(checks: Sequence[RecordCheck]) -> bool:
    """Whether all required records are published; a failed lookup counts as missing."""
    good = (CheckStatus.OK, CheckStatus.WEAK)
    return all(check.status in good for check in checks if check.record.required)


def _check_record(record: DnsRecord, published: Published) -> RecordCheck:
    values = published.get((record.name, record.queried_type), ())
    if values is None:
        return RecordCheck(
            record, CheckStatus.UNKNOWN, f"DNS lookup of {record.name} failed. Try again."
        )
    status, reason = _CHECKS[record.purpose](record, values)
    wrong = status in (CheckStatus.MISSING, CheckStatus.WRONG)
    if wrong and (mistake := _mistake(record, values, published)):
        status, reason = CheckStatus.WRONG, mistake
    return RecordCheck(record, status, reason, tuple(values))


def appended_names(name: str, domain: str, zone: str) -> tuple[str, ...]:
    """Where a record is found if a DNS panel has appended the zone to a full name."""
    return tuple(f"{name}.{suffix}" for suffix in dict.fromkeys((domain, zone)) if suffix)


def _mistake(record: DnsRecord, values: Sequence[str], published: Published) -> str:
    """A common mistake in words; empty if there is none of these."""
    assess = _CHECKS[record.purpose]
    if record.key:
        return _mistaken_alias(record, values, published)
    target = next(iter(published.get((record.name, "CNAME")) or ()), "")
    if target and record.type != "CNAME":
        return (
            f"{record.name} is a CNAME to {target}, and beside a CNAME no other record counts"
            f" (RFC 1034 §3.6.2): remove it, then publish {record.type} {record.value}"
        )
    for (name, kind), found in published.items():
        if name.startswith(f"{record.name}.") and kind == record.type and found:
            return (
                f"{record.name} does not exist, but {name} does: the DNS panel has appended the"
                " zone. Enter the name without it."
            )
    unquoted = [value.replace("\\", "").replace('"', "").strip() for value in values]
    if unquoted != list(values) and assess(record, unquoted)[0] in (
        CheckStatus.OK,
        CheckStatus.WEAK,
    ):
        return f"{record.name} has quotes or backslashes in its value. Enter it without them."
    if record.purpose is Purpose.DKIM and len(values) == 2:
        joined = ("".join(values), "".join(reversed(values)))
        if any(assess(record, [one])[0] in (CheckStatus.OK, CheckStatus.WEAK) for one in joined):
            return (
                f"{record.name} has the key split over two TXT records. It must be one record with"
                " several strings."
            )
    return ""


def _mistaken_alias(record: DnsRecord, values: Sequence[str], published: Published) -> str:
    """A mistake in the alias of a key in words; empty if there is none."""
    target = next(iter(published.get((record.name, "CNAME")) or ()), "").lower().rstrip(".")
    if target and target != record.value.lower():
        return f"{record.name} is a CNAME to {target}. It must lead to {record.value}."
    if target and not values:
        return (
            f"{record.name} leads to {target}, which has no key yet. That is not your mistake: ask"
            " for support if it lasts."
        )
    return ""


def _spf(record: DnsRecord, values: Sequence[str]) -> Assessment:
    found = [v for v in values if v.lower() == "v=spf1" or v.lower().startswith("v=spf1 ")]
    if not found:
        return CheckStatus.MISSING, f"publish a TXT record at {record.name}: {record.value}"
    if len(found) > 1:
        return CheckStatus.WRONG, f"{record.name} has {len(found)} SPF records. Keep only one."
    # A plus and the trailing dot of a domain are optional (RFC 7208 §4.6.2, §7.1).
    terms = [term.lstrip("+").rstrip(".") for term in found[0].lower().split()]
    expected = next(term for term in record.value.split() if term.startswith("include:"))
    expected = expected.lower().rstrip(".")
    if expected not in terms:
        return CheckStatus.WRONG, f"the SPF record of {record.name} lacks {expected}"
    return _spf_ending(found[0].lower(), terms, expected)


def _spf_ending(text: str, terms: list[str], expected: str) -> Assessment:
    if terms[-1] == "all":
        return CheckStatus.WRONG, "the SPF record ends in +all, which allows every host: use -all"
    closing = next((i for i, term in enumerate(terms) if term.lstrip("?~-") == "all"), len(terms))
    if closing < terms.index(expected):
        return CheckStatus.WRONG, f"{expected} follows `all` and is never evaluated: move it before"
    if len(_LOOKUPS.findall(text)) > 10:
        return (
            CheckStatus.WRONG,
            "the SPF record needs more than 10 DNS lookups, which makes it invalid",
        )
    if closing == len(terms) and "redirect=" not in text:
        return CheckStatus.WEAK, "the SPF record does not end in `all`: add -all"
    return _OK


def _dkim(record: DnsRecord, values: Sequence[str]) -> Assessment:
    if not values:
        return (
            CheckStatus.MISSING,
            f"publish a {record.type} record at {record.name}: {record.value}",
        )
    if len(values) > 1:
        return CheckStatus.WRONG, f"{record.name} has {len(values)} TXT records. Keep only the key."
    return _dkim_key(record, values[0])


def _dkim_key(record: DnsRecord, value: str) -> Assessment:
    """Check that the key is ours and that verifiers accept the record."""
    expected, found = parse_tags(record.key or record.value), parse_tags(value)
    key = re.sub(r"\s", "", found.get("p", ""))
    if key and key != expected["p"]:
        cut = (
            " (it is truncated; some DNS panels cut at 255)"
            if expected["p"].startswith(key)
            else ""
        )
        return (
            CheckStatus.WRONG,
            f"the key at {record.name} is not ours{cut}: publish {record.value}",
        )
    if problem := key_problem(value, expected.get("k", "rsa")):
        return (
            CheckStatus.WRONG,
            f"the key at {record.name} is unusable: {problem}. Publish {record.value}",
        )
    if "y" in found.get("t", "").split(":"):
        return (
            CheckStatus.WEAK,
            f"the key at {record.name} has t=y (testing), so receivers may ignore it",
        )
    return _OK


def _dmarc(record: DnsRecord, values: Sequence[str]) -> Assessment:
    found = [value for value in values if _DMARC.match(value)]
    if not found:
        return CheckStatus.MISSING, f"publish a TXT record at {record.name}: {record.value}"
    if len(found) > 1:
        return (
            CheckStatus.WRONG,
            f"{record.name} has {len(found)} DMARC records, so receivers ignore all of them",
        )
    tags = parse_tags(found[0])
    policy = tags.get("p", "none").lower()
    if not tags or policy not in _POLICIES:
        return CheckStatus.WRONG, "the DMARC policy is not p=none, p=quarantine or p=reject"
    if tags.get("aspf", "r") == "s":
        return CheckStatus.WEAK, "aspf=s: our return path is under your domain, so only DKIM aligns"
    if "rua" not in tags:
        return CheckStatus.WEAK, "the DMARC record has no rua=, so no reports arrive"
    return _reports_arrive(record, tags["rua"])


def _reports_arrive(record: DnsRecord, addresses: str) -> Assessment:
    """addresses: the value of `rua=`."""
    ours = parse_tags(record.value).get("rua", "")
    if ours.lower() not in addresses.lower():
        return CheckStatus.WEAK, f"reports go elsewhere: to see them here too, add {ours} to rua="
    return _OK


def _tls_rpt(record: DnsRecord, values: Sequence[str]) -> Assessment:
    found = [value for value in values if _TLS_RPT.match(value)]
    if not found:
        return CheckStatus.MISSING, f"publish a TXT record at {record.name}: {record.value}"
    if len(found) > 1:
        return (
            CheckStatus.WRONG,
            f"{record.name} has {len(found)} TLS-RPT records, so senders ignore all of them",
        )
    return _reports_arrive(record, parse_tags(found[0]).get("rua", ""))


def _return_path(record: DnsRecord, values: Sequence[str]) -> Assessment:
    hosts = [value.split()[-1].lower().rstrip(".") for value in values if value.split()]
    if not hosts:
        return (
            CheckStatus.MISSING,
            f"publish an MX record at {record.name}: {record.priority} {record.value}",
        )
    if record.value.lower().rstrip(".") not in hosts:
        return (
            CheckStatus.WRONG,
            f"the MX of {record.name} is {hosts[0]}. It must be {record.value}.",
        )
    if len(set(hosts)) > 1:
        return CheckStatus.WEAK, f"{record.name} has other MX hosts too. Bounces to them are lost."
    return _OK


def _tracking(record: DnsRecord, values: Sequence[str]) -> Assessment:
    targets = [value.lower().rstrip(".") for value in values]
    if not targets:
        return (
            CheckStatus.MISSING,
            f"publish a CNAME record at {record.name}: {record.value}. If your DNS provider has a"
            " proxy for the name, switch it off: only a CNAME is found.",
        )
    if record.value.lower() not in targets:
        return (
            CheckStatus.WRONG,
            f"{record.name} is a CNAME to {targets[0]}. It must lead to {record.value}.",
        )
    return _OK


_CHECKS: Mapping[Purpose, Callable[[DnsRecord, Sequence[str]], Assessment]] = {
    Purpose.SPF: _spf,
    Purpose.DKIM: _dkim,
    Purpose.DMARC: _dmarc,
    Purpose.RETURN_PATH: _return_path,
    Purpose.TLS_RPT: _tls_rpt,
    Purpose.TRACKING: _tracking,
}
