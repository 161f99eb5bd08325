"""How many messages a tick takes on."""

from dataclasses import dataclass, field

SIZE_MIN = 20  # with fewer, the fixed cost of a tick exceeds that of its messages
QUEUES_PER_MESSAGE = 2  # more than one, because some of the queues turn out to be blocked
QUEUES_MIN = 200  # a tick that reads all active queues need not move them
# While mail is assigned that has just become due, ticks are shorter, so that it does not wait for
# the backlog of others. A backlog alone is cheaper in long ticks.
PROMPT_PART = 1 / 3


@dataclass(slots=True)
class BatchSize:
    """As many messages as a tick of target_s can assign, so that mail that becomes due meanwhile
    waits no longer than that, however many tenants and sources there are; a third of that while
    there is such mail."""

    size_max: int
    target_s: float
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = min(self.size_max, max(SIZE_MIN, self.size_max // 4))

    def queues_max(self, limit: int) -> int:
        """Queues to read for so many messages."""
        return min(limit, max(QUEUES_MIN, self.size * QUEUES_PER_MESSAGE))

    def record_failure(self) -> None:
        """A tick that timed out would time out again."""
        self.size = min(self.size_max, max(SIZE_MIN, self.size // 2))

    def record(self, *, messages: int, queues: int, took_s: float, has_prompt: bool) -> None:
        """Only a full tick shows how long one takes. has_prompt: there is prompt mail."""
        if messages < self.size and queues < max(QUEUES_MIN, self.size * QUEUES_PER_MESSAGE):
            return
        target_s = self.target_s * (PROMPT_PART if has_prompt else 1)
        fitting = self.size * target_s / max(took_s, 0.001)
        size = round((self.size + fitting) / 2)  # one slow tick decides little
        self.size = min(self.size_max, max(SIZE_MIN, size))
