"""Extensions that servers offer, and that do not work."""

from kernel import clock
from kernel.bounded_dict import BoundedDict
from services.delivery.clients.smtp.dial_target import DialTarget

BROKEN_TTL_S = 900.0  # whoever breaks STARTTLS once gains no more than this
BROKEN_MAX = 10_000  # remembered hosts


class BrokenFeatures:
    """Hosts that offer an extension which does not work; remembered for 15 minutes."""

    def __init__(self) -> None:
        self._until: BoundedDict[DialTarget, float] = BoundedDict(BROKEN_MAX)

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, host: DialTarget) -> bool:
        until_s = self._until.get(host)
        if until_s is not None and until_s <= clock.monotonic_s():
            del self._until[host]
            until_s = None
        return until_s is not None

    def add(self, host: DialTarget) -> None:
        self._until[host] = clock.monotonic_s() + BROKEN_TTL_S
