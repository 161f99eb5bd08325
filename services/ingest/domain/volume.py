"""Express or bulk: a million newsletters do not stand before a password reset."""

from collections import deque

from contracts.ingest.v1.events_pb2 import MessageClass

WINDOW_S = 10.0


class Volume:
    """Counts the messages of each tenant over ten seconds, by the second."""

    def __init__(self, bulk_after: int) -> None:
        self._bulk_after = bulk_after
        self._counts: dict[str, deque[tuple[int, int]]] = {}
        self._totals: dict[str, int] = {}

    def classify(self, tenant_id: str, stream: str, *, messages: int, now_s: float) -> int:
        """The class of so many messages more."""
        counts = self._counts.setdefault(tenant_id, deque())
        total = self._totals.get(tenant_id, 0) + messages
        while counts and counts[0][0] <= now_s - WINDOW_S:
            total -= counts.popleft()[1]
        second = int(now_s)
        if counts and counts[-1][0] == second:
            messages += counts.pop()[1]
        counts.append((second, messages))
        self._totals[tenant_id] = total
        if stream == "broadcast" or total > self._bulk_after:
            return MessageClass.MESSAGE_CLASS_BULK
        return MessageClass.MESSAGE_CLASS_EXPRESS
