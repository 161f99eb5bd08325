"""Limits of the memory for bodies of requests in progress: in total, and per tenant."""

from services.ingest.domain.problem import Problem, unavailable

UNCOUNTED_BYTES = 64 * 1024  # small emails are also served when large ones are refused
TENANT_PART = 4  # so that one tenant does not use all of it


class BodyMemory:
    """Memory of request bodies in a process. octets_max: in total; a quarter of it per tenant."""

    def __init__(self, octets_max: int) -> None:
        self._octets_max = octets_max
        self._octets = 0
        self._of: dict[str, int] = {}

    def reserve(self, tenant_id: str) -> "BodyReservation":
        return BodyReservation(self, tenant_id)

    def check(self, tenant_id: str, more: int) -> None:
        """Raises Problem."""
        if self._octets + more > self._octets_max:
            raise unavailable("Too many large requests are in progress.")
        if self._of.get(tenant_id, 0) + more > self._octets_max // TENANT_PART:
            raise Problem(
                429,
                "rate_limit_exceeded",
                detail="Too many of your large requests are in progress. Wait, then retry.",
                retry_after_s=1,
            )

    def add(self, tenant_id: str, more: int) -> None:
        self._octets += more
        self._of[tenant_id] = self._of.get(tenant_id, 0) + more
        if not self._of[tenant_id]:
            del self._of[tenant_id]


class BodyReservation:
    """The memory of one request. `close` frees it."""

    __slots__ = ("_bodies", "_octets", "_tenant_id")

    def __init__(self, bodies: BodyMemory, tenant_id: str) -> None:
        self._bodies = bodies
        self._tenant_id = tenant_id
        self._octets = 0

    def resize(self, octets: int) -> None:
        """Set the size. Raises Problem, and then the size is unchanged."""
        counted = octets if octets > UNCOUNTED_BYTES else 0
        more = counted - self._octets
        if not more:
            return
        if more > 0:
            self._bodies.check(self._tenant_id, more)
        self._bodies.add(self._tenant_id, more)
        self._octets = counted

    def close(self) -> None:
        self.resize(0)
