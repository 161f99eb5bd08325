"""Slows down failed logins, by client address and by username."""

from typing import NamedTuple

from kernel.bounded_dict import BoundedDict
from kernel.connection_limit import network_of

FREE = 3  # failures without a consequence
FORGET_S = 900.0  # without a failure
WAIT_MAX_S = 64.0  # after one more failure
ENTRIES_MAX = 50_000


class _Failures(NamedTuple):
    number: int
    last_s: float
    next_s: float  # earliest time of the next login


class LoginAttempt(NamedTuple):
    """client: an IP address. secret: a hash of the password."""

    client: str
    username: str
    secret: bytes

    @property
    def identity(self) -> tuple[str, str, bytes]:
        return network_of(self.client), self.username.lower(), self.secret

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        return ("client", network_of(self.client)), ("username", self.username.lower())


class LoginThrottle:
    """After FREE failures each further one doubles the wait, for the address and for the username.
    Credentials that were right before are never delayed from the same address, so that others who
    fail do not lock a customer out."""

    def __init__(self) -> None:
        self._failures: BoundedDict[tuple[str, str], _Failures] = BoundedDict(ENTRIES_MAX)
        self._right: BoundedDict[tuple[str, str, bytes], None] = BoundedDict(ENTRIES_MAX)

    def begin(self, attempt: LoginAttempt, now_s: float) -> float:
        """Seconds to wait before this login may be checked. If it is 0, the login counts as failed
        until `succeed`, so that many at once do not pass."""
        if attempt.identity in self._right:
            return 0.0
        keys = attempt.keys
        if (wait_s := max(self._current(key, now_s).next_s - now_s for key in keys)) > 0:
            return wait_s
        for key in keys:
            number = self._current(key, now_s).number + 1
            pause_s = min(WAIT_MAX_S, 2.0 ** (number - FREE)) if number >= FREE else 0.0
            self._failures[key] = _Failures(number, now_s, now_s + pause_s)
        return 0.0

    def succeed(self, attempt: LoginAttempt, now_s: float) -> None:
        if attempt.identity in self._right:
            return
        self._right[attempt.identity] = None
        for key in attempt.keys:
            number = self._current(key, now_s).number - 1
            if number > 0:
                self._failures[key] = _Failures(number, now_s, now_s)
            else:
                self._failures.pop(key, None)

    def fail(self, attempt: LoginAttempt) -> None:
        """The credentials are wrong, perhaps no longer right."""
        self._right.pop(attempt.identity, None)

    def _current(self, key: tuple[str, str], now_s: float) -> _Failures:
        found = self._failures.get(key)
        return found if found and now_s - found.last_s < FORGET_S else _Failures(0, now_s, now_s)
