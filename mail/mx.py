"""The route of a domain's mail: RFC 5321 §5.1, null MX RFC 7505, and the site behind an MX set.

A *site* is the mail servers of one mailbox provider. Limits and reputation apply per site, so all
domains that one provider hosts must have the same site. The rules are data: sites.toml.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

SITE_MAX = 200  # characters of a site's name, which is part of keys


class Mx(NamedTuple):
    """One MX record: `host` without the trailing dot."""

    preference: int
    host: str


class NullMxError(ValueError):
    """The domain accepts no mail (RFC 7505): fail with 5.1.10 without an attempt."""


@dataclass(frozen=True, slots=True)
class SiteRule:
    """One provider: hosts with one of the suffixes are its servers. domains: others of its
    mailboxes, which are no suffix of a host."""

    site: str
    suffixes: tuple[str, ...]
    domains: tuple[str, ...] = ()


def parse_rules(text: str) -> tuple[SiteRule, ...]:
    """The rules of a sites.toml, in order. Raises ValueError if `lint` finds a problem."""
    data = tomllib.loads(text)
    rules = tuple(
        SiteRule(entry["site"], tuple(entry["suffixes"]), tuple(entry.get("domains", ())))
        for entry in data["rule"]
    )
    problems = lint(rules)
    if problems:
        raise ValueError("; ".join(problems))
    return rules


def lint(rules: Sequence[SiteRule]) -> list[str]:
    """Problems of the rules: repeated names, shadowed suffixes, invalid forms."""
    problems, seen = [], dict[str, str]()
    for rule in rules:
        if "." in rule.site or "+" in rule.site:
            problems.append(f"{rule.site}: looks like a domain, which anyone can register")
        if not rule.suffixes:
            problems.append(f"{rule.site}: has no suffix, so it matches nothing")
        problems += [f"{rule.site}: {one!r} is no domain" for one in rule.domains if "." not in one]
        for suffix in rule.suffixes:
            if suffix != suffix.lower().strip(".") or " " in suffix or "." not in suffix:
                problems.append(f"{rule.site}: {suffix!r} is not a lower-case domain suffix")
            for earlier, owner in seen.items():
                if suffix == earlier or suffix.endswith(f".{earlier}"):
                    problems.append(f"{rule.site}: {suffix} is shadowed by {owner} ({earlier})")
            seen[suffix] = rule.site
    names = [rule.site for rule in rules]
    problems += [f"{n}: named twice" for n in sorted({n for n in names if names.count(n) > 1})]
    return problems


@lru_cache(maxsize=1)
def provider_domains() -> frozenset[str]:
    """The domains of mailbox providers, in lower case."""
    rules = parse_rules((files("mail") / "sites.toml").read_text("utf-8"))
    return frozenset(name for rule in rules for name in (*rule.suffixes, *rule.domains))


@lru_cache(maxsize=1)
def _suffixes() -> tuple[dict[str, str], frozenset[str]]:
    folder = files("mail")
    rules = parse_rules((folder / "sites.toml").read_text("utf-8"))
    data = tomllib.loads((folder / "sites.toml").read_text("utf-8"))
    by_suffix = {suffix: rule.site for rule in rules for suffix in rule.suffixes}
    return by_suffix, frozenset(data["public_suffixes"])


def site_of(mx_hosts: Iterable[str]) -> str:
    """The site of an MX set; the order of the hosts does not matter.

    It is a provider's name only if every host belongs to that provider: a domain owner can list
    other providers' hosts and must not affect their limits and reputation. A mixed set is named
    by all its registered domains. They contain a dot and providers' names do not, so no set can
    get a provider's name. Raises ValueError for an empty set.
    """
    names = frozenset(host.lower().rstrip(".") for host in mx_hosts)
    if not names:
        raise ValueError("an empty MX set has no site. Pass the domain if it has only addresses.")
    return _site_of(names)


@lru_cache(maxsize=65536)
def _site_of(names: frozenset[str]) -> str:
    by_suffix, public = _suffixes()
    [provider, *others] = {_provider(name, by_suffix) for name in names}
    if provider is not None and not others:
        return provider
    parts = {registered_domain(name, public) for name in names}
    domains = "+".join(sorted(part if "." in part else f"{part}." for part in parts))
    if len(domains) > SITE_MAX:  # the digest keeps truncated names unique
        digest = sha256(domains.encode()).hexdigest()[:16]
        domains = f"{domains[: SITE_MAX - 17]}+{digest}"
    return domains


def is_mixed_site(site: str) -> bool:
    """Whether a site of `site_of` has hosts of several organizations."""
    return "+" in site


def _provider(host: str, by_suffix: Mapping[str, str]) -> str | None:
    """The site of the rule with the longest suffix of `host`."""
    labels = host.split(".")
    for start in range(len(labels) - 1):
        site = by_suffix.get(".".join(labels[start:]))
        if site is not None:
            return site
    return None


# co.uk, com.br, ne.jp, …: second-level registries of countries.
_REGISTRY_LABELS = frozenset(
    ("ac", "co", "com", "edu", "go", "gob", "gov", "ne", "net", "or", "org")
)


def registered_domain(host: str, public: frozenset[str] = frozenset()) -> str:
    """An estimate of the registered domain; `public`: known second-level registries.

    `mx1.example.co.uk` gives `example.co.uk`: a label that looks like a registry under a country
    counts as one. Too long a result only creates a separate site; too short a result would merge
    unrelated domains.
    """
    labels = host.split(".")
    if len(labels) <= 2 or host.replace(".", "").isdigit() or ":" in host:
        return host
    is_like_registry = labels[-2] in _REGISTRY_LABELS and len(labels[-1]) == 2
    keep = 3 if is_like_registry or ".".join(labels[-2:]) in public else 2
    return ".".join(labels[-keep:])


def check_null_mx(records: Sequence[Mx]) -> None:
    """Raises NullMxError if the domain accepts no mail: a single MX whose host is the root."""
    if len(records) == 1 and records[0].host.rstrip(".") == "":
        raise NullMxError("the domain accepts no mail: it has a null MX (RFC 7505)")


def order_by_preference(records: Sequence[Mx], shuffle: Callable[[list[Mx]], None]) -> list[Mx]:
    """The records in the order to try, equal ones shuffled (§5.1), without root hosts.

    `shuffle`: shuffles a list in place, like `random.Random.shuffle`. Raises NullMxError.
    """
    check_null_mx(records)
    usable = [record for record in records if record.host.rstrip(".")]
    shuffle(usable)
    usable.sort(key=lambda record: record.preference)  # stable, so equal records stay shuffled
    return usable


def preferred_to_own(records: Sequence[Mx], own_names: frozenset[str]) -> list[Mx]:
    """The records preferred over our own: the others would cause a loop (§5.1).

    `own_names`: in lower case. Returns all records if none is our own.
    """
    own = [r.preference for r in records if r.host.lower().rstrip(".") in own_names]
    return [r for r in records if not own or r.preference < min(own)]
