"""Which pool each egress source is in."""

from collections.abc import Mapping

from contracts.router.v1.directory_pb2 import EgressSource
from kernel.table import ReplicatedTable, TopicReplayer


class SourcePools:
    """Replicates egress sources. What a deleted one has sent is in no pool."""

    def __init__(self, kafka: TopicReplayer) -> None:
        self._sources = ReplicatedTable(EgressSource, kafka)

    async def load(self) -> Mapping[str, str]:
        """Pools by source. Waits until all are known."""
        await self._sources.replayed.wait()
        return {one.egress_id: one.pool_id for one in self._sources.values()}
