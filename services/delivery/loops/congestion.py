"""Whether bulk mail waits for this process, and whether it has to leave room for express mail."""

from kernel import clock
from kernel.batch_pacer import EXPRESS_BUSY_PER_S, BatchPacer

EXPRESS_S = 1.0  # there is express mail for so long after a message
BURST_S = 0.3  # of EXPRESS_BUSY_PER_S: more at once is not a little
CONGESTED_AFTER_S = 0.02  # that bulk mail has waited to be rendered
CONGESTED_S = 0.2  # after that


class WorkerCongestion:
    """Of one process. Its results tell the router, which then assigns less bulk mail."""

    __slots__ = ("_congested_until_s", "_express_pace")

    def __init__(self) -> None:
        self._express_pace = BatchPacer(BURST_S, busy_per_s=EXPRESS_BUSY_PER_S)
        self._congested_until_s = 0.0

    def record_express(self) -> None:
        self._express_pace.start_batch(1)

    @property
    def is_express_sparse(self) -> bool:
        """Whether there is express mail, but little: then bulk mail leaves it room. Much of it is a
        load of its own."""
        return self._express_pace.wait_s > -EXPRESS_S and not self._express_pace.is_busy

    def record_bulk_wait(self, wait_s: float) -> None:
        if wait_s > CONGESTED_AFTER_S:
            self._congested_until_s = clock.monotonic_s() + CONGESTED_S

    @property
    def is_congested(self) -> bool:
        return clock.monotonic_s() < self._congested_until_s
