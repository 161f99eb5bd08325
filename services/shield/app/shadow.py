"""The second model, which scores beside the live one, and the record of what was started."""

from contracts.shield.v1.events_pb2 import ScreeningModel
from kernel.child import Child
from kernel.kafka import Kafka
from kernel.table import ReplicatedTable
from services.shield.clients.screening_child import ScreeningChild
from services.shield.domain.rulebook import Thresholds
from services.shield.domain.screening import ScorerVersion
from services.shield.loops.model_starts import ModelHistoryRecorder
from services.shield.loops.shadow import ShadowModelScorer

NICENESS = 10  # the stream comes first


def create_shadow(
    kafka: Kafka, child: Child, thresholds: Thresholds, *, versions: ScorerVersion, share: float
) -> ShadowModelScorer:
    return ShadowModelScorer(
        ScreeningChild(child, thresholds, versions), kafka.publish, share=share
    )


def create_start_recorder(
    kafka: Kafka, live: ScorerVersion, shadow: ShadowModelScorer | None
) -> ModelHistoryRecorder:
    return ModelHistoryRecorder(
        ReplicatedTable(ScreeningModel, kafka),
        kafka.publish,
        live=live,
        shadow=shadow.child.versions if shadow else None,
    )
