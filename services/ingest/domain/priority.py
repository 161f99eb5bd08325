"""Choose express or bulk priority, so that newsletters do not delay password resets."""

from collections import deque

from contracts.ingest.v1.events_pb2 import Priority

WINDOW_S = 10.0


class BulkClassifier:
    """Counts the messages of each tenant per second over ten seconds. Tenants without messages in
    that time are removed."""

    def __init__(self, bulk_threshold: int) -> None:
        self._bulk_threshold = bulk_threshold
        self._counts: dict[str, deque[tuple[int, int]]] = {}
        self._totals: dict[str, int] = {}
        self._sweep_at_s = 0.0

    def __len__(self) -> int:
        return len(self._counts)

    def classify(self, tenant_id: str, stream: str, *, messages: int, now_s: float) -> int:
        """The priority of the given number of new messages. now_s: monotonic time."""
        if now_s >= self._sweep_at_s:
            self._sweep(now_s)
        counts = self._counts.setdefault(tenant_id, deque())
        total = self._totals.get(tenant_id, 0) + messages
        while counts and counts[0][0] <= now_s - WINDOW_S:
            total -= counts.popleft()[1]
        second = int(now_s)
        if counts and counts[-1][0] == second:
            messages += counts.pop()[1]
        counts.append((second, messages))
        self._totals[tenant_id] = total
        if stream == "broadcast" or total > self._bulk_threshold:
            return Priority.PRIORITY_BULK
        return Priority.PRIORITY_EXPRESS

    def _sweep(self, now_s: float) -> None:
        self._sweep_at_s = now_s + WINDOW_S
        counts = self._counts.items()
        self._counts = {
            tenant_id: some for tenant_id, some in counts if some[-1][0] > now_s - WINDOW_S
        }
        self._totals = {tenant_id: self._totals[tenant_id] for tenant_id in self._counts}
