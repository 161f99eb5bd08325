"""Which models screen messages, and have: each start of a process is in the history."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.shield.v1.events_pb2 import ScreeningModel
from kernel import clock
from kernel.health import DependencyHealth
from kernel.retry import retry_while_unavailable
from kernel.table import ReplicatedTable
from kernel.topics import encode
from services.shield.domain.screening import ScorerVersion

Publish = Callable[[Sequence[Outgoing]], Awaitable[None]]


class ModelHistoryRecorder:
    """live, shadow: what this process screens with. shadow: None without a second model."""

    def __init__(
        self,
        table: ReplicatedTable[ScreeningModel],
        publish: Publish,
        *,
        live: ScorerVersion,
        shadow: ScorerVersion | None,
    ) -> None:
        self.table = table
        self._publish = publish
        self._started = [(live, False), *([(shadow, True)] if shadow else [])]

    async def run(self) -> None:
        """Publish what was started, once the history is known. It does not concern the health of
        the service."""
        await self.table.replayed.wait()
        now = clock.now()
        records = [encode(self.entry_of(*one), now) for one in self._started]
        await retry_while_unavailable(partial(self._publish, records), DependencyHealth())

    def entry_of(self, versions: ScorerVersion, is_shadow: bool) -> ScreeningModel:
        entry = ScreeningModel(
            model_version=versions.model, rules_version=versions.rules, shadow=is_shadow
        )
        entry.last_started_at.FromDatetime(clock.now())
        entry.version = entry.last_started_at.ToMicroseconds()
        known = self.table.get(versions.model)
        entry.first_started_at.CopyFrom(known.first_started_at if known else entry.last_started_at)
        return entry
