"""Whether an SPF record authorizes an address: RFC 7208. Macros are not evaluated.

`check_host` is a generator, so that the caller does the lookups: it yields a name and a type, and
is sent the values found, empty if there are none, or None if the lookup failed.
"""

from collections.abc import Callable, Generator, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

Query = tuple[str, str]
Values = Sequence[str] | None
Address = IPv4Address | IPv6Address
LOOKUPS_MAX = 10  # §4.6.4
MX_MAX = 10


class SpfResult(StrEnum):
    """The result of an evaluation (§2.6)."""

    PASS = "pass"  # noqa: S105 - a result, no secret
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    PERMERROR = "permerror"
    UNKNOWN = "unknown"  # a lookup failed, or a macro


class _End(Exception):
    def __init__(self, result: SpfResult) -> None:
        self.result = result


class _Term(NamedTuple):
    """A mechanism or a modifier (§4.6.1); the name of an unknown modifier ends with `=`."""

    qualifier: str
    name: str
    argument: str


QUALIFIERS = {
    "+": SpfResult.PASS,
    "-": SpfResult.FAIL,
    "~": SpfResult.SOFTFAIL,
    "?": SpfResult.NEUTRAL,
}
LOOKING_UP = frozenset(("include", "a", "mx", "ptr", "exists", "redirect"))


def check_host(address: str, domain: str) -> Generator[Query, Values, SpfResult]:
    """The result for an address as the client of mail with this domain in its return path."""
    try:
        return (yield from _Evaluation(ip_address(address)).evaluate(domain))
    except _End as end:
        return end.result


class _Evaluation:
    def __init__(self, address: Address) -> None:
        self._address = address
        self._lookups = 0

    def evaluate(self, domain: str) -> Generator[Query, Values, SpfResult]:
        records = [one for one in (yield from _values(domain, "TXT")) if _is_spf(one)]
        if len(records) != 1:
            return SpfResult.PERMERROR if records else SpfResult.NONE
        terms = [_parse(text) for text in records[0].split()[1:]]
        for term in terms:
            if term.name != "redirect" and (yield from self._matches(term, domain)):
                return QUALIFIERS[term.qualifier]
        for term in terms:
            if term.name == "redirect":
                self._count(term)
                result = yield from self.evaluate(_target(term, domain))
                return SpfResult.PERMERROR if result is SpfResult.NONE else result
        return SpfResult.NEUTRAL

    def _count(self, term: _Term) -> None:
        self._lookups += term.name in LOOKING_UP
        if self._lookups > LOOKUPS_MAX:
            raise _End(SpfResult.PERMERROR)

    def _matches(self, term: _Term, domain: str) -> Generator[Query, Values, bool]:
        self._count(term)
        if term.name == "all":
            return True
        if term.name in ("ip4", "ip6"):
            return _is_within(self._address, term.argument)
        if term.name == "exp" or term.name.endswith("="):  # modifiers (§6)
            return False
        if (mechanism := MECHANISMS.get(term.name)) is None:
            raise _End(SpfResult.PERMERROR)
        return (yield from mechanism(self, term, _target(term, domain)))

    def _includes(self, _: _Term, domain: str) -> Generator[Query, Values, bool]:
        result = yield from self.evaluate(domain)
        if result in (SpfResult.NONE, SpfResult.PERMERROR):
            raise _End(SpfResult.PERMERROR)
        return result is SpfResult.PASS

    def _has_address(self, term: _Term, host: str) -> Generator[Query, Values, bool]:
        kind = "A" if self._address.version == 4 else "AAAA"
        prefix = _prefix(term.argument, self._address.version)
        values = yield from _values(host, kind)
        return any(_is_within(self._address, f"{value}{prefix}") for value in values)

    def _has_mx(self, term: _Term, domain: str) -> Generator[Query, Values, bool]:
        for value in (yield from _values(domain, "MX"))[:MX_MAX]:
            if (yield from self._has_address(term, value.split()[-1].rstrip("."))):
                return True
        return False

    def _exists(self, _: _Term, domain: str) -> Generator[Query, Values, bool]:
        return bool((yield from _values(domain, "A")))

    def _has_pointer(self, _: _Term, __: str) -> Generator[Query, Values, bool]:
        """Never: "do not use" (§5.5)."""
        yield from ()
        return False


Mechanism = Callable[[_Evaluation, _Term, str], Generator[Query, Values, bool]]
MECHANISMS: dict[str, Mechanism] = {
    "include": _Evaluation._includes,
    "a": _Evaluation._has_address,
    "mx": _Evaluation._has_mx,
    "exists": _Evaluation._exists,
    "ptr": _Evaluation._has_pointer,
}


def _values(name: str, kind: str) -> Generator[Query, Values, Sequence[str]]:
    if "%" in name:
        raise _End(SpfResult.UNKNOWN)
    found = yield name, kind
    if found is None:
        raise _End(SpfResult.UNKNOWN)
    return found


def _is_spf(text: str) -> bool:
    return text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")


def _parse(text: str) -> _Term:
    qualifier, rest = (text[0], text[1:]) if text[0] in QUALIFIERS else ("+", text)
    name = rest.lower()
    for separator in "=:/":
        if separator in name:
            name = name.split(separator)[0]
    argument = rest[len(name) :].removeprefix(":")
    if argument.startswith("="):
        return _Term(qualifier, name if name in ("redirect", "exp") else f"{name}=", argument[1:])
    return _Term(qualifier, name, argument)


def _target(term: _Term, domain: str) -> str:
    """The domain that a term names, or else the current one."""
    return term.argument.split("/")[0].rstrip(".") or domain


def _prefix(argument: str, version: int) -> str:
    """Of `/24//64` or `host/24` (§5.6): the prefix of the family."""
    _, slash, prefixes = argument.partition("/")
    ipv4, _, ipv6 = f"{slash}{prefixes}".partition("//")
    found = ipv4.lstrip("/") if version == 4 else ipv6
    return f"/{found}" if found else ""


def _is_within(address: Address, network: str) -> bool:
    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        raise _End(SpfResult.PERMERROR) from None
