"""The topics that router writes."""

from contracts.router.v1.directory_pb2 import EgressSource, Pool
from contracts.router.v1.events_pb2 import (
    CampaignsCounted,
    DeliveryAssigned,
    HeldMessageReviewed,
    MessageClosed,
    MessageDelayed,
    MessageHeld,
    SuppressionChanged,
)
from contracts.router.v1.policies_pb2 import (
    LimitReached,
    LimitsChanged,
    ListingChanged,
    OverrideRemoved,
    OverrideSet,
    SourceChecked,
    StandingChanged,
    WarmupChanged,
)
from kernel.kafka import Kafka


def declare_topics(kafka: Kafka) -> None:
    kafka.declare(DeliveryAssigned, MessageDelayed, MessageClosed, SuppressionChanged)
    kafka.declare(HeldMessageReviewed)
    kafka.declare(CampaignsCounted, MessageHeld)
    kafka.declare(Pool, EgressSource)
    kafka.declare(WarmupChanged, OverrideSet, OverrideRemoved, StandingChanged, LimitsChanged)
    kafka.declare(ListingChanged, SourceChecked, LimitReached)
