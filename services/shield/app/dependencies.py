"""Objects that several parts of the service share."""

from dataclasses import dataclass

from contracts.ingest.v1.directory_pb2 import Tenant
from kernel.content import ContentStore
from kernel.database import Database
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.service import close_in_order
from kernel.table import ReplicatedTable
from services.shield.clients.link_lists import LinkBlockLists
from services.shield.clients.screening_child import ScreeningChild
from services.shield.loops.model_starts import ModelHistoryRecorder
from services.shield.loops.shadow import ShadowModelScorer
from services.shield.settings import Settings


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Objects that several parts of the service share."""

    settings: Settings
    health: DependencyHealth
    kafka: Kafka
    tenants: ReplicatedTable[Tenant]
    content: ContentStore
    screening_child: ScreeningChild
    dry_run_child: ScreeningChild
    link_lists: LinkBlockLists | None
    system_database: Database
    tenant_database: Database
    outbox: Outbox
    lease: Lease
    setup: bytes  # of the children, without what was learned
    shadow: ShadowModelScorer | None
    models: ModelHistoryRecorder

    @property
    def learns(self) -> bool:
        return self.settings.learning != "off"

    @property
    def compares_versions(self) -> bool:
        """Whether a version of what was learned scores beside the live one. A second model takes
        its place, because figures count what one of them would change."""
        return self.learns and self.shadow is None

    async def close(self) -> None:
        lists = [self.link_lists.close] if self.link_lists else []
        await close_in_order(
            self.outbox.drain,
            self.lease.release,
            self.kafka.close,
            *lists,
            self.screening_child.child.close,
            self.dry_run_child.child.close,
            *([self.shadow.child.child.close] if self.shadow else []),
            self.tenant_database.close,
            self.system_database.close,
        )
