"""contracts.ingest.v1.DomainService."""

from contracts.ingest.v1 import domain_service_pb2 as pb
from contracts.ingest.v1.domain_service_pb2_grpc import DomainServiceServicer
from services.ingest.api.access import Principal
from services.ingest.api.administration.directory import parse_id
from services.ingest.api.callers import Caller
from services.ingest.api.domain_reports import (
    DMARC,
    TLS,
    DomainReportResource,
    ReportPeriod,
    dmarc_to_json,
    parse_period,
    tls_to_json,
)
from services.ingest.api.domain_requests import CreateDomainRequest, UpdateDomainRequest
from services.ingest.api.domain_views import summary_to_json, to_json, zone_entry_to_json
from services.ingest.api.domains import DomainDetails, DomainResource
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    checked_json,
    given_fields,
    next_page_token,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context


class DomainServicer(DomainServiceServicer):
    def __init__(
        self, access: RpcAccess, domains: DomainResource, reports: DomainReportResource
    ) -> None:
        self.access = access
        self._domains = domains
        self._reports = reports

    @authenticated
    async def CreateDomain(
        self, request: pb.CreateDomainRequest, principal: Principal, _: Context
    ) -> pb.CreateDomainResponse:
        new = given_fields(request, CreateDomainRequest)
        return pb.CreateDomainResponse(domain=to_proto(await self._domains.create(principal, new)))

    @authenticated
    async def ListDomains(
        self, request: pb.ListDomainsRequest, caller: Caller, _: Context
    ) -> pb.ListDomainsResponse:
        found, has_more = await self._domains.list_of(caller, page_of(request), name=request.name)
        domains = [proto_from_json(pb.DomainSummary, summary_to_json(one)) for one in found]
        token = next_page_token(domains, has_more=has_more)
        return pb.ListDomainsResponse(domains=domains, next_page_token=token)

    @authenticated
    async def GetDomain(
        self, request: pb.GetDomainRequest, principal: Principal, _: Context
    ) -> pb.GetDomainResponse:
        view = await self._domains.get(principal, domain_id(request.id))
        return pb.GetDomainResponse(domain=to_proto(view))

    @authenticated
    async def UpdateDomain(
        self, request: pb.UpdateDomainRequest, principal: Principal, _: Context
    ) -> pb.UpdateDomainResponse:
        identifier = domain_id(request.id)
        changes = given_fields(request, UpdateDomainRequest)
        view = await self._domains.update(principal, identifier, changes)
        return pb.UpdateDomainResponse(domain=to_proto(view))

    @authenticated
    async def DeleteDomain(
        self, request: pb.DeleteDomainRequest, principal: Principal, _: Context
    ) -> pb.DeleteDomainResponse:
        identifier = domain_id(request.id)
        await self._domains.remove(principal, identifier, force=request.force)
        return pb.DeleteDomainResponse(id=identifier)

    @authenticated
    async def VerifyDomain(
        self, request: pb.VerifyDomainRequest, principal: Principal, _: Context
    ) -> pb.VerifyDomainResponse:
        checked = await self._domains.verify(principal, domain_id(request.id))
        return pb.VerifyDomainResponse(id=checked)

    @authenticated
    async def RotateDkim(
        self, request: pb.RotateDkimRequest, principal: Principal, _: Context
    ) -> pb.RotateDkimResponse:
        view = await self._domains.rotate(principal, domain_id(request.id))
        return pb.RotateDkimResponse(domain=to_proto(view))

    @authenticated
    async def GetDomainDmarc(
        self, request: pb.GetDomainDmarcRequest, principal: Principal, _: Context
    ) -> pb.GetDomainDmarcResponse:
        identifier, period = domain_id(request.id), period_of(request)
        found = await self._reports.get(principal, identifier, kind=DMARC, period=period)
        dmarc = proto_from_json(pb.DomainDmarc, dmarc_to_json(found))
        return pb.GetDomainDmarcResponse(dmarc=dmarc)

    @authenticated
    async def GetDomainTlsReports(
        self, request: pb.GetDomainTlsReportsRequest, principal: Principal, _: Context
    ) -> pb.GetDomainTlsReportsResponse:
        identifier, period = domain_id(request.id), period_of(request)
        found = await self._reports.get(principal, identifier, kind=TLS, period=period)
        reports = proto_from_json(pb.DomainTlsReports, tls_to_json(found))
        return pb.GetDomainTlsReportsResponse(tls_reports=reports)

    @authenticated
    async def ListDkimZone(
        self, request: pb.ListDkimZoneRequest, _: Caller, __: Context
    ) -> pb.ListDkimZoneResponse:
        found, has_more = await self._domains.zone_page(page_of(request), zone=request.zone)
        entries = [proto_from_json(pb.DomainDkimRecords, zone_entry_to_json(one)) for one in found]
        token = next_page_token(entries, has_more=has_more)
        return pb.ListDkimZoneResponse(entries=entries, next_page_token=token)


def domain_id(text: str) -> str:
    """Raises Problem 404."""
    return parse_id(text, "the domain")


def period_of(request: pb.GetDomainDmarcRequest | pb.GetDomainTlsReportsRequest) -> ReportPeriod:
    """Raises Problem."""
    checked_json(request)
    return parse_period(request.since, request.until)


def to_proto(view: DomainDetails) -> pb.DomainInfo:
    return proto_from_json(pb.DomainInfo, to_json(view))
