"""Slots for work that occupies the process: some for all, fewer for each tenant."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from services.ingest.domain.problem import Problem


class TenantSlots:
    """slots_max: of all tenants together. share_max: of one tenant."""

    def __init__(self, slots_max: int, share_max: int) -> None:
        self._slots_max = slots_max
        self._share_max = share_max
        self._in_use: Counter[str] = Counter()

    @contextmanager
    def slot(self, tenant_id: str, detail: str) -> Iterator[None]:
        """Raises Problem 429 with this detail if there is no free slot; a waiting request would
        occupy memory with its body."""
        if self._in_use.total() >= self._slots_max or self._in_use[tenant_id] >= self._share_max:
            raise Problem(429, "rate_limit_exceeded", detail=detail, retry_after_s=1)
        self._in_use[tenant_id] += 1
        try:
            yield
        finally:
            self._in_use[tenant_id] -= 1
            self._in_use += Counter()  # drops the tenants whose count is zero
