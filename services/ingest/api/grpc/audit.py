"""contracts.ingest.v1.AuditService."""

from contracts.ingest.v1 import audit_service_pb2 as pb
from contracts.ingest.v1.audit_service_pb2_grpc import AuditServiceServicer
from services.ingest.api.administration.audit_log import AuditLogResource
from services.ingest.api.administration.views import audit_entry_to_json
from services.ingest.api.callers import Caller
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    next_page_token,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context


class AuditServicer(AuditServiceServicer):
    def __init__(self, access: RpcAccess, audit_log: AuditLogResource) -> None:
        self.access = access
        self._audit_log = audit_log

    @authenticated
    async def ListAuditEntries(
        self, request: pb.ListAuditEntriesRequest, caller: Caller, _: Context
    ) -> pb.ListAuditEntriesResponse:
        equal = {
            "actor_id": request.actor, "action": request.action, "resource": request.resource,
        }  # fmt: skip
        since = request.since if request.HasField("since") else None
        found, has_more = await self._audit_log.page(
            caller, page_of(request), equal=equal, since=since
        )
        entries = [proto_from_json(pb.AuditEntryInfo, audit_entry_to_json(one)) for one in found]
        token = next_page_token(entries, has_more=has_more)
        return pb.ListAuditEntriesResponse(entries=entries, next_page_token=token)
