"""What screens messages: models, and versions of what was learned since. shield has them."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated

from msgspec import Meta

from contracts.shield.v1 import shield_service_pb2 as pb
from contracts.shield.v1.events_pb2 import ScreeningModel
from contracts.shield.v1.shield_service_pb2 import (
    LearnedVersionInfo,
    ListModelsRequest,
    ListVersionsRequest,
)
from kernel.ids import uuid5_text
from services.ingest.api.administration.audit_log import AuditLogResource
from services.ingest.api.administration.directory import paginate
from services.ingest.api.callers import Caller
from services.ingest.api.rest_base import format_timestamp
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel
from services.ingest.domain.patterns import LINE
from services.ingest.domain.problem import not_found
from services.ingest.store.audit_log import AuditSubject
from services.ingest.store.directory_lists import PageBounds

VERSION_CHARS = 200
RESOURCE, NAMESPACE = "learned_version", b"obm learned vers"  # in the audit log, and of ids there


class ReviewVersionRequest(RequestModel):
    """Why a version is promoted or withdrawn."""

    reason: Annotated[str, Meta(min_length=1, max_length=500, pattern=LINE)]


class ModelResource:
    """For operators. Raises Problem."""

    def __init__(self, clients: ServiceClients, audit_log: AuditLogResource) -> None:
        self._shield = clients.shield
        self._audit_log = audit_log

    async def page(self, page: PageBounds) -> tuple[Sequence[ScreeningModel], bool]:
        """Those that screen messages, or have, by version in descending order; and whether more
        follow."""
        response = await self._shield.call(self._shield.stub.ListModels, ListModelsRequest())
        return paginate(response.models, page, id_of=attrgetter("model_version"))

    async def versions(self, page: PageBounds) -> tuple[Sequence[LearnedVersionInfo], bool]:
        """Newest first; and whether more follow."""
        response = await self._shield.call(self._shield.stub.ListVersions, ListVersionsRequest())
        ids = [one.published.version for one in response.versions]
        if page.after and page.after not in ids:
            raise not_found("the version")
        start = ids.index(page.after) + 1 if page.after else 0
        end = start + page.limit
        return response.versions[start:end], end < len(ids)

    async def review(
        self, caller: Caller, version: str, given: ReviewVersionRequest, *, promoted: bool
    ) -> LearnedVersionInfo:
        """The version as it was; the learner obeys within seconds."""
        if not version or len(version) > VERSION_CHARS:
            raise not_found("the version")
        request = pb.ReviewVersionRequest(
            version=version,
            promoted=promoted,
            reviewed_by=caller.key.key_id,
            reason=given.reason,
        )
        response = await self._shield.call(self._shield.stub.ReviewVersion, request)
        change = AuditSubject(RESOURCE, uuid5_text(NAMESPACE, version)), response.version, request
        await self._audit_log.record(caller, change, action="promote" if promoted else "withdraw")
        return response.version


def model_to_json(model: ScreeningModel) -> dict[str, object]:
    return {
        "object": "screening_model",
        "id": model.model_version,
        "role": "shadow" if model.shadow else "live",
        "rules_version": model.rules_version,
        "first_started_at": format_timestamp(model.first_started_at),
        "last_started_at": format_timestamp(model.last_started_at),
    }


def version_to_json(version: LearnedVersionInfo) -> dict[str, object]:
    published = version.published
    last = version.changed if version.HasField("changed") else None
    return {
        "object": "learned_version",
        "id": published.version,
        "model_version": published.model_version,
        "role": version.role,
        "published_at": format_timestamp(published.published_at),
        "due_at": format_timestamp(published.due_at),
        "campaigns": published.campaigns,
        "auc": published.auc,
        "fpr": published.fpr,
        "change": last.change if last else None,
        "changed_at": format_timestamp(last.changed_at) if last else None,
        "reviewed_by": (last.reviewed_by or None) if last else None,
        "reason": (last.reason or None) if last else None,
    }
