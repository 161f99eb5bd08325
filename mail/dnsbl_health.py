"""Which block lists work: RFC 5782 §5. A list that is dead may list nothing, or everything."""

from collections.abc import Iterable

from mail.dnsbl import Blocklist, ListFailure

INTERVAL_S = 3600.0  # between the self-tests of a list
RETRY_S = 300.0  # the same, of one that has failed


class ListHealth:
    """A list is out of use until its first self-test, and after one that fails."""

    def __init__(
        self,
        blocklists: Iterable[Blocklist],
        *,
        interval_s: float = INTERVAL_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self.blocklists = {one.name: one for one in blocklists}
        self._interval_s, self._retry_s = interval_s, min(retry_s, interval_s)
        self._tested_s: dict[str, float] = {}
        self._failures: dict[str, ListFailure | None] = {}

    def due(self, now_s: float) -> list[Blocklist]:
        """Those whose self-test is due."""
        return [one for name, one in self.blocklists.items() if self._due_s(name) <= now_s]

    def older_than(self, age_s: float, now_s: float) -> list[Blocklist]:
        """Those in use whose self-test is older."""
        return [one for one in self.usable() if self._tested_s[one.name] < now_s - age_s]

    def record(self, name: str, failure: ListFailure | None, now_s: float) -> bool:
        """The result of a self-test, or an answer that shows that a list does not work. True if it
        is news."""
        is_news = name not in self._failures or self._failures[name] != failure
        self._failures[name], self._tested_s[name] = failure, now_s
        return is_news

    def usable(self) -> list[Blocklist]:
        return [one for name, one in self.blocklists.items() if self.is_usable(name)]

    def is_usable(self, name: str) -> bool:
        return name in self._failures and self._failures[name] is None

    def _due_s(self, name: str) -> float:
        if name not in self._tested_s:
            return float("-inf")
        wait_s = self._interval_s if self.is_usable(name) else self._retry_s
        return self._tested_s[name] + wait_s
