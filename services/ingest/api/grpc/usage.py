"""contracts.ingest.v1.UsageService."""

from contracts.ingest.v1 import usage_service_pb2 as pb
from contracts.ingest.v1.usage_service_pb2_grpc import UsageServiceServicer
from services.ingest.api.callers import Caller
from services.ingest.api.grpc.base import RpcAccess, authenticated, checked_json, proto_from_json
from services.ingest.api.grpc.server import Context
from services.ingest.api.usage import DAY, TENANT, UsageResource
from services.ingest.api.usage_views import invoice_to_json, usage_to_json
from services.ingest.domain.problem import Fault, invalid


class UsageServicer(UsageServiceServicer):
    def __init__(self, access: RpcAccess, reports: UsageResource) -> None:
        self.access = access
        self._reports = reports

    @authenticated
    async def GetUsage(
        self, request: pb.GetUsageRequest, caller: Caller, _: Context
    ) -> pb.GetUsageResponse:
        checked_json(request)
        if request.by not in {"", DAY, TENANT}:
            raise invalid([Fault("#/by", "invalid", "by must be day or tenant.")])
        found = await self._reports.get(
            caller, period=request.period, by=request.by, account_id=request.account_id
        )
        return pb.GetUsageResponse(usage=proto_from_json(pb.UsageInfo, usage_to_json(found)))

    @authenticated
    async def PreviewInvoice(
        self, request: pb.PreviewInvoiceRequest, caller: Caller, _: Context
    ) -> pb.PreviewInvoiceResponse:
        checked_json(request)
        found = await self._reports.preview_invoice(
            caller, period=request.period, account_id=request.account_id
        )
        invoice = proto_from_json(pb.InvoicePreviewInfo, invoice_to_json(found))
        return pb.PreviewInvoiceResponse(invoice=invoice)
