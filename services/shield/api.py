"""The RPC server: a dry run of screening, campaigns, models, and versions of what was learned."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import grpc
import grpc.aio

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.shield.v1 import shield_service_pb2 as pb
from contracts.shield.v1.events_pb2 import ScreeningModel
from contracts.shield.v1.learning_pb2 import OutcomeRecorded, VersionReviewed
from contracts.shield.v1.shield_service_pb2_grpc import ShieldServiceServicer
from kernel import clock
from kernel.child import ChildRaised
from kernel.database import Database
from kernel.errors import Unavailable
from kernel.ids import MAX
from kernel.rpc import Context, RequestError, map_errors, parse_id
from kernel.table import ReplicatedTable
from kernel.topics import encode
from services.shield.clients.link_lists import LinkBlockLists
from services.shield.clients.screening_child import ScreeningChild
from services.shield.domain.scoring import thresholds_of_tenant
from services.shield.domain.screening import ResponseExtra, encode_request
from services.shield.store import campaign_list, versions
from services.shield.store.versions import LIVE, SHADOW

PAGE_SIZE, PAGE_SIZE_MAX = 20, 100
Publish: TypeAlias = Callable[[Sequence[Outgoing]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ShieldServicer(ShieldServiceServicer):
    """Nothing is stored or sent. An unknown tenant has the default thresholds.

    screening_child: not that of the consumer, so that dry runs do not delay it. tenant_database:
    its role is under row-level security; it serves the requests of tenants. publish: to Kafka.
    learning: as in the settings.
    """

    screening_child: ScreeningChild
    tenants: ReplicatedTable[Tenant]
    models: ReplicatedTable[ScreeningModel]
    system_database: Database
    tenant_database: Database
    publish: Publish
    learning: str = "off"
    link_lists: LinkBlockLists | None = None

    @property
    def extra(self) -> ResponseExtra:
        return ResponseExtra.REASONS | (
            ResponseExtra.HOSTS if self.link_lists else ResponseExtra.NONE
        )

    async def Score(  # noqa: N802 - the contract's name
        self,
        request: pb.ScoreRequest,
        context: grpc.aio.ServicerContext[pb.ScoreRequest, pb.ScoreResponse],
    ) -> pb.ScoreResponse:
        tenant = self.tenants.get(request.tenant_id) or Tenant()
        thresholds = self.screening_child.thresholds
        limits = thresholds_of_tenant(tenant.hold_score, tenant.block_score, thresholds)
        encoded = encode_request(request.content.SerializeToString(), limits, self.extra)
        try:
            [response] = await self.screening_child.screen([encoded])
        except Unavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{error} is unavailable")
        if isinstance(response, ChildRaised):
            await context.abort(grpc.StatusCode.INTERNAL, "scoring failed")
        if self.link_lists:
            await self.link_lists.weigh([response], with_reasons=True)
        return response

    @map_errors
    async def ListCampaigns(  # noqa: N802 - the contract's name
        self, request: pb.ListCampaignsRequest, _: Context
    ) -> pb.ListCampaignsResponse:
        tenant_id, account_id = owner_of(request)
        before = parse_id(request.after, "after") if request.after else str(MAX)

        def is_wanted(one: pb.Campaign) -> bool:
            return request.assessment in ("", one.assessed.change) and (
                request.action in ("", one.action)
            )

        async with self._database_of(tenant_id).transaction(tenant_id=tenant_id) as tx:
            page = await campaign_list.read_page(
                tx,
                self._tenants_of(tenant_id, account_id),
                wanted=is_wanted,
                before=before,
                limit=min(request.limit or PAGE_SIZE, PAGE_SIZE_MAX),
            )
        return pb.ListCampaignsResponse(campaigns=page.campaigns, next=page.next)

    @map_errors
    async def GetCampaign(  # noqa: N802 - the contract's name
        self, request: pb.GetCampaignRequest, _: Context
    ) -> pb.GetCampaignResponse:
        tenant_id, account_id = owner_of(request)
        campaign_id = parse_id(request.id, "id")
        async with self._database_of(tenant_id).transaction(tenant_id=tenant_id) as tx:
            found = await campaign_list.find(tx, campaign_id)
        if found is None or not self._is_owner(tenant_id, account_id, of=found.tenant_id):
            raise RequestError("campaign not found", grpc.StatusCode.NOT_FOUND)
        return pb.GetCampaignResponse(campaign=found)

    async def ListModels(  # noqa: N802 - the contract's name
        self, _: pb.ListModelsRequest, __: Context
    ) -> pb.ListModelsResponse:
        return pb.ListModelsResponse(models=self.models.values())

    @map_errors
    async def ListVersions(  # noqa: N802 - the contract's name
        self, _: pb.ListVersionsRequest, __: Context
    ) -> pb.ListVersionsResponse:
        async with self.system_database.transaction() as tx:
            return pb.ListVersionsResponse(versions=await versions.list_versions(tx))

    @map_errors
    async def ReviewVersion(  # noqa: N802 - the contract's name
        self, request: pb.ReviewVersionRequest, _: Context
    ) -> pb.ReviewVersionResponse:
        async with self.system_database.transaction() as tx:
            found = await versions.find_version(tx, request.version)
        check_review(request, found.role if found else "", learning=self.learning)
        now = clock.now()
        review = review_event(request, now)
        await self.publish([encode(review, now)])
        return pb.ReviewVersionResponse(version=found)

    def _database_of(self, tenant_id: str | None) -> Database:
        return self.tenant_database if tenant_id else self.system_database

    def _tenants_of(self, tenant_id: str | None, account_id: str | None) -> Sequence[str] | None:
        """None: all."""
        if tenant_id:
            return [tenant_id]
        if account_id is None:
            return None
        return [one.tenant_id for one in self.tenants.values() if one.account_id == account_id]

    def _is_owner(self, tenant_id: str | None, account_id: str | None, *, of: str) -> bool:
        if tenant_id:
            return of == tenant_id
        tenant = self.tenants.get(of)
        return account_id is None or (tenant is not None and tenant.account_id == account_id)


def check_review(request: pb.ReviewVersionRequest, role: str, *, learning: str) -> None:
    """role: of the version; empty: it is unknown. Raises RequestError."""
    refused = ""
    if not role:
        raise RequestError("version not found", grpc.StatusCode.NOT_FOUND)
    if learning == "off" or (request.promoted and learning != "on"):
        refused = f"nothing follows from it with SHIELD_LEARNING={learning}"
    elif request.promoted and role != SHADOW:
        refused = "only the version that scores beside the live one can be promoted"
    elif role not in {LIVE, SHADOW}:
        refused = "it is not in use"
    if refused:
        raise RequestError(refused, grpc.StatusCode.FAILED_PRECONDITION)


def review_event(request: pb.ReviewVersionRequest, now: datetime) -> OutcomeRecorded:
    reviewed = VersionReviewed(
        version=request.version,
        promoted=request.promoted,
        reviewed_by=request.reviewed_by,
        reason=request.reason,
    )
    event = OutcomeRecorded(version_reviewed=reviewed)
    event.recorded_at.FromDatetime(now)
    at = event.recorded_at.ToMicroseconds()
    event.outcome_id = f"version/{request.version}/{at}"
    return event


def owner_of(
    request: pb.ListCampaignsRequest | pb.GetCampaignRequest,
) -> tuple[str | None, str | None]:
    """The tenant, or else the account, or else nobody: all. Raises RequestError."""
    if request.tenant_id:
        return parse_id(request.tenant_id, "tenant_id"), None
    return None, parse_id(request.account_id, "account_id") if request.account_id else None
