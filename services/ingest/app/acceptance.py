"""Wires the acceptance of emails."""

from datetime import timedelta

from services.ingest.api.acceptance import Acceptance
from services.ingest.api.access import AccessControl
from services.ingest.api.plan_admission import PlanAdmission
from services.ingest.api.senders import SenderResolver
from services.ingest.app.dependencies import Dependencies
from services.ingest.domain.priority import BulkClassifier
from services.ingest.domain.schedule import ContentRetention
from services.ingest.store.acceptance import AcceptanceStore
from services.ingest.store.backpressure import Backpressure
from services.ingest.store.directory_cache import DirectoryCache
from services.ingest.store.quotas import QuotaUsage


def create_acceptance(
    deps: Dependencies,
    directory: DirectoryCache,
    *,
    access: AccessControl,
    backpressure: Backpressure,
    senders: SenderResolver,
) -> Acceptance:
    settings = deps.settings
    return Acceptance(
        access=access,
        store=AcceptanceStore(
            deps.system_database,
            deps.outbox,
            audit_after_s=settings.audit_open_after_s,
            idempotency_retention_s=settings.idempotency_retention_hours * 3600,
        ),
        content=deps.content,
        outbox=deps.outbox,
        backpressure=backpressure,
        kafka=deps.kafka_health,
        bulk_classifier=BulkClassifier(settings.bulk_threshold),
        retention=ContentRetention(
            timedelta(hours=settings.message_lifetime_hours),
            timedelta(days=settings.content_retention_margin_days),
        ),
        return_path_key=deps.return_path_key,
        senders=senders,
        plans=PlanAdmission(
            directory.cached_account, deps.prices, QuotaUsage(deps.system_database)
        ),
    )
