"""MTA-STS: RFC 8461. A domain's policy that mail requires verified TLS, and its MX hosts.

The TXT record announces the policy and its changes. The caller fetches the policy over https (no
redirects, `text/plain`, at most 64 KB, §3.3) and caches it for `max_age`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

MAX_POLICY = 65536  # octets (§3.2 suggests limits)
MX_MAX = 100  # patterns of a policy
HOST_MAX = 255  # octets of a pattern: of a name, and `*.`
MAX_AGE = 31_557_600  # seconds, one year: the maximum of `max_age` (§3.2)
_VERSION = re.compile(r"v=STSv1\s*;")
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_HOST = re.compile(r"(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{1,63}")


class MtaStsMode(StrEnum):
    """How to treat an MX host that fails validation (§5)."""

    ENFORCE = "enforce"  # do not deliver to it
    TESTING = "testing"  # deliver, and report by TLS-RPT
    NONE = "none"  # as without a policy


class PolicyError(ValueError):
    """The policy is invalid; the message says why. A cached policy stays in force."""


@dataclass(frozen=True, slots=True)
class MtaStsPolicy:
    """A policy. `mx`: patterns in lower case. `max_age_s`: maximum time to cache it."""

    mode: MtaStsMode
    mx: tuple[str, ...]
    max_age_s: int

    def allows(self, host: str) -> bool:
        """Whether the policy allows this MX host (§4.1); a wildcard matches exactly one label."""
        name = host.lower().rstrip(".")
        parent = name.partition(".")[2]
        return any(
            pattern == name or (pattern.startswith("*.") and pattern[2:] == parent)
            for pattern in self.mx
        )

    def lines(self) -> tuple[str, ...]:
        """The policy's lines for TLS-RPT (RFC 8460 §4.4)."""
        hosts = (f"mx: {pattern}" for pattern in self.mx)
        return ("version: STSv1", f"mode: {self.mode}", *hosts, f"max_age: {self.max_age_s}")


def record_name(domain: str) -> str:
    """The name of the TXT record."""
    return f"_mta-sts.{domain}"


def policy_url(domain: str) -> str:
    """The policy's URL; the certificate must be valid for its host (§3.3)."""
    return f"https://mta-sts.{domain}/.well-known/mta-sts.txt"


def policy_id(records: tuple[str, ...]) -> str | None:
    """The id of the domain's policy from its TXT records; None if there is no policy.

    §3.1: records that do not begin with `v=STSv1;` are ignored, and two that do count as none. The
    id can stand before or after unknown fields.
    """
    found = [text for text in records if _VERSION.match(text)]
    if len(found) != 1:
        return None
    given = [field.partition("=") for field in found[0].split(";")]
    ids = [value.strip() for name, _, value in given if name.strip() == "id"]
    return ids[0] if len(ids) == 1 and _ID.fullmatch(ids[0]) else None


def parse_policy(body: bytes) -> MtaStsPolicy:
    """A policy file (§3.2). Raises PolicyError."""
    if len(body) > MAX_POLICY:
        raise PolicyError(f"the policy is longer than {MAX_POLICY} octets")
    given: dict[str, str] = {}
    hosts: list[str] = []
    for line in body.decode("utf-8", "replace").splitlines():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if key == "mx":
            hosts.append(value.lower().rstrip("."))
        elif colon:
            given.setdefault(key, value)  # the first of repeated fields counts
    return _policy(given, hosts)


def _policy(given: dict[str, str], hosts: list[str]) -> MtaStsPolicy:
    if given.get("version") != "STSv1":
        raise PolicyError("the policy is not `version: STSv1`")
    if given.get("mode") not in set(MtaStsMode):
        raise PolicyError(
            f"the policy's mode {given.get('mode')!r} is not enforce, testing or none"
        )
    age = given.get("max_age", "")
    if not re.fullmatch(r"[0-9]{1,10}", age):
        raise PolicyError("the policy has no max_age in seconds")
    mode = MtaStsMode(given["mode"])
    if len(hosts) > MX_MAX:
        raise PolicyError(f"the policy has more than {MX_MAX} mx")
    wrong = [host for host in hosts if len(host) > HOST_MAX or not _HOST.fullmatch(host)]
    if wrong or (not hosts and mode is not MtaStsMode.NONE):
        raise PolicyError(
            f"{wrong[0][:HOST_MAX]!r} is not an MX host" if wrong else "the policy has no mx"
        )
    return MtaStsPolicy(mode, tuple(hosts), min(int(age), MAX_AGE))
