"""Slows down failed logins, by client address and by username."""

from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from kernel.bounded_dict import BoundedDict

FREE = 3  # failures without a consequence
FORGET_S = 900.0  # without a failure
WAIT_MAX_S = 64.0  # after one more failure
ENTRIES_MAX = 50_000


class _Failures(NamedTuple):
    number: int
    last_s: float
    next_s: float  # earliest time of the next login


class LoginThrottle:
    """After FREE failures each further one doubles the wait, for the address and for the username.
    An address from which a username has logged in does not wait for others' failures with it."""

    def __init__(self) -> None:
        self._failures: BoundedDict[tuple[str, str], _Failures] = BoundedDict(ENTRIES_MAX)
        self._known: BoundedDict[tuple[str, str], None] = BoundedDict(ENTRIES_MAX)

    def wait_s(self, client: str, username: str, now_s: float) -> float:
        """Seconds until this login may be checked; 0 if it may be checked now."""
        network, user = network_of(client), username.lower()
        keys = [("client", network)]
        if (network, user) not in self._known:
            keys.append(("username", user))
        found = [self._current(key, now_s) for key in keys]
        return max(0.0, *(one.next_s - now_s for one in found))

    def add_failure(self, client: str, username: str, now_s: float) -> None:
        for key in (("client", network_of(client)), ("username", username.lower())):
            number = self._current(key, now_s).number + 1
            wait_s = min(WAIT_MAX_S, 2.0 ** (number - FREE)) if number >= FREE else 0.0
            self._failures[key] = _Failures(number, now_s, now_s + wait_s)

    def add_success(self, client: str, username: str) -> None:
        network = network_of(client)
        self._known[(network, username.lower())] = None
        self._failures.pop(("client", network), None)

    def _current(self, key: tuple[str, str], now_s: float) -> _Failures:
        found = self._failures.get(key)
        return found if found and now_s - found.last_s < FORGET_S else _Failures(0, now_s, now_s)


def network_of(client: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 address, which one customer has."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
    return str(address)
