"""Wires the audit of messages."""

from datetime import timedelta
from math import ceil

from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import MessageClosed
from contracts.shield.v1.events_pb2 import MessageScreened
from services.ingest.app.dependencies import Dependencies
from services.ingest.loops.message_audit import (
    MessageAudit,
    MessageAuditConfig,
    MessageAuditConsumers,
)
from services.ingest.store.message_audit import MessageAuditStore

ROUTER_GROUP = "router-screened"  # consumer group of the router for MessageScreened


def create_message_audit(deps: Dependencies, store: MessageAuditStore) -> MessageAudit:
    settings = deps.settings
    first = min(settings.audit_open_after_s, settings.audit_closed_after_s)
    return MessageAudit(
        store,
        deps.clients,
        deps.kafka,
        consumers=MessageAuditConsumers(
            accepted=[(MessageAccepted, settings.shield_group), (MessageScreened, ROUTER_GROUP)],
            closed=[(MessageClosed, settings.events_group)],
        ),
        lease=deps.lease,
        outbox=deps.outbox,
        kafka=deps.kafka_health,
        config=MessageAuditConfig(
            settings.audit_batch,
            recheck_after=timedelta(seconds=settings.audit_repeat_after_s),
            republish_max=ceil(settings.audit_republished_per_s_max * settings.audit_interval_s),
            record_age_min=timedelta(seconds=min(first, settings.audit_repeat_after_s)),
        ),
    )
