"""How many messages a tick takes on."""

from dataclasses import dataclass, field

SIZE_MIN = 20  # with fewer, the fixed cost of a tick exceeds that of its messages
QUEUES_PER_MESSAGE = 2  # more than one, because some of the queues turn out to be blocked
QUEUES_MIN = 200  # a tick that reads all active queues need not move them
# While mail is assigned that has just become due, ticks are shorter, so that it does not wait for
# the backlog of others. A backlog alone is cheaper in long ticks.
PROMPT_PART = 4 / 9
PROMPT_S = 5.0  # after the last such mail


@dataclass(slots=True)
class BatchSizeController:
    """As many messages as a tick of target_s can assign, so that mail that becomes due meanwhile
    waits no longer than that, however many tenants and sources there are; less than half of that
    while there is such mail."""

    size_max: int
    target_s: float
    size: int = field(init=False)
    _prompt_until_s: float = 0.0

    def __post_init__(self) -> None:
        self.size = min(self.size_max, max(SIZE_MIN, self.size_max // 4))

    def queues_max(self, limit: int) -> int:
        """Queues to read for so many messages."""
        return min(limit, max(QUEUES_MIN, self.size * QUEUES_PER_MESSAGE))

    def record_failure(self) -> None:
        """A tick that timed out would time out again."""
        self.size = min(self.size_max, max(SIZE_MIN, self.size // 2))

    def record_prompt(self, now_s: float) -> None:
        """A message was assigned soon after it became due."""
        self._prompt_until_s = now_s + PROMPT_S

    def record(self, *, messages: int, queues: int, took_s: float, now_s: float) -> None:
        """Only a full tick shows how long one takes."""
        if messages < self.size and queues < max(QUEUES_MIN, self.size * QUEUES_PER_MESSAGE):
            return
        target_s = self.target_s * (PROMPT_PART if now_s < self._prompt_until_s else 1)
        fitting = self.size * target_s / max(took_s, 0.001)
        size = round((self.size + fitting) / 2)  # one slow tick decides little
        self.size = min(self.size_max, max(SIZE_MIN, size))
