"""MTA-STS: RFC 8461. Whether a domain wants its mail over verified TLS only, and to which hosts.

The record says that there is a policy and when it changed; the policy is fetched over https (by the
caller: no redirects, `text/plain`, at most 64 KB, §3.3) and kept for its `max_age`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

MAX_POLICY = 65536  # octets (§3.2 suggests limits)
MAX_AGE = 31_557_600  # seconds, one year: what `max_age` may be at most (§3.2)
_VERSION = re.compile(r"v=STSv1\s*;")
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_HOST = re.compile(r"(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{1,63}")


class Mode(StrEnum):
    """What to do with an MX that does not pass (§5)."""

    ENFORCE = "enforce"  # never deliver to it
    TESTING = "testing"  # deliver, and tell by TLS-RPT
    NONE = "none"  # as if there were no policy


class PolicyError(ValueError):
    """The policy cannot be used; the message says why. The one that is cached stays in force."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy. `mx`: patterns in lower case; `max_age_s`: how long it may be kept."""

    mode: Mode
    mx: tuple[str, ...]
    max_age_s: int

    def allows(self, host: str) -> bool:
        """Whether mail may go to this MX host (§4.1): a wildcard stands for exactly one label."""
        name = host.lower().rstrip(".")
        parent = name.partition(".")[2]
        return any(
            pattern == name or (pattern.startswith("*.") and pattern[2:] == parent)
            for pattern in self.mx
        )

    def lines(self) -> tuple[str, ...]:
        """The policy as TLS-RPT repeats it (RFC 8460 §4.4)."""
        hosts = (f"mx: {pattern}" for pattern in self.mx)
        return ("version: STSv1", f"mode: {self.mode}", *hosts, f"max_age: {self.max_age_s}")


def record_name(domain: str) -> str:
    """Where the TXT record is."""
    return f"_mta-sts.{domain}"


def policy_url(domain: str) -> str:
    """Where the policy is; the certificate must be good for that host (§3.3)."""
    return f"https://mta-sts.{domain}/.well-known/mta-sts.txt"


def policy_id(records: tuple[str, ...]) -> str | None:
    """The id of the domain's policy from its TXT records; None: no policy, or an ambiguous one.

    §3.1: records that do not begin with `v=STSv1;` do not count; two that do count as none. The id
    may stand before or behind what we do not know.
    """
    found = [text for text in records if _VERSION.match(text)]
    if len(found) != 1:
        return None
    given = [field.partition("=") for field in found[0].split(";")]
    ids = [value.strip() for name, _, value in given if name.strip() == "id"]
    return ids[0] if len(ids) == 1 and _ID.fullmatch(ids[0]) else None


def parse(body: bytes) -> Policy:
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
            given.setdefault(key, value)  # of a field given twice, the first counts
    return _policy(given, hosts)


def _policy(given: dict[str, str], hosts: list[str]) -> Policy:
    if given.get("version") != "STSv1":
        raise PolicyError("the policy is not `version: STSv1`")
    if given.get("mode") not in set(Mode):
        raise PolicyError(
            f"the policy's mode {given.get('mode')!r} is none of enforce, testing, none"
        )
    age = given.get("max_age", "")
    if not re.fullmatch(r"[0-9]{1,10}", age):
        raise PolicyError("the policy has no max_age in seconds")
    mode = Mode(given["mode"])
    wrong = [host for host in hosts if not _HOST.fullmatch(host)]
    if wrong or (not hosts and mode is not Mode.NONE):
        raise PolicyError(f"{wrong[0]!r} is no mx host" if wrong else "the policy names no mx")
    return Policy(mode, tuple(hosts), min(int(age), MAX_AGE))
