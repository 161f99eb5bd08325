"""The gRPC API for the other services: attempts from the journal, captured test mail, and
figures of reports about domains."""

from collections.abc import Sequence
from datetime import date
from typing import Protocol

import grpc
import msgspec

from contracts.delivery.v1 import delivery_service_pb2 as pb
from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceServicer
from kernel.database import Database
from kernel.redaction import pattern_of
from kernel.rpc import Context, RequestError, check_text, map_errors, parse_id
from services.delivery.domain.domain_reports import Detail, DmarcFigureKey
from services.delivery.domain.owned_attempt import AttemptKey
from services.delivery.store import domain_reports, erasure
from services.delivery.store.domain_reports import DayRange, DayReportCounts
from services.delivery.store.journal import Journal
from services.delivery.store.sandbox import SandboxStore

KEYS_MAX = 500
HOSTED_MAX = 100


class HostChecker(Protocol):
    """See clients.smtp.egress_hosts."""

    async def check_all(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """The problem of each host and address; empty if there is none."""


class DeliveryServicer(DeliveryServiceServicer):
    """system_database: for the journal of all tenants; tenant_database: for the captured mail of
    one."""

    def __init__(
        self,
        system_database: Database,
        tenant_database: Database,
        *,
        sandbox: SandboxStore,
        egress_hosts: HostChecker,
    ) -> None:
        self._system_database = system_database
        self._tenant_database = tenant_database
        self._journal = Journal()
        self._sandbox = sandbox
        self._egress_hosts = egress_hosts

    @map_errors
    async def GetAttempts(  # noqa: N802 - the contract's name
        self, request: pb.GetAttemptsRequest, context: Context
    ) -> pb.GetAttemptsResponse:
        if len(request.keys) > KEYS_MAX:
            raise RequestError(f"too many keys: {len(request.keys)}. Send at most {KEYS_MAX}.")
        keys = [
            AttemptKey(parse_id(key.message_id, "message_id"), key.attempt) for key in request.keys
        ]
        async with self._system_database.transaction() as tx:
            return pb.GetAttemptsResponse(attempts=await self._journal.find(tx, keys))

    @map_errors
    async def ListSandboxMessages(  # noqa: N802
        self, request: pb.ListSandboxMessagesRequest, context: Context
    ) -> pb.ListSandboxMessagesResponse:
        tenant_id = parse_id(request.tenant_id, "tenant_id")
        after = request.after and parse_id(request.after, "after")
        before = request.before and parse_id(request.before, "before")
        async with self._tenant_database.transaction(tenant_id=tenant_id) as tx:
            found, more = await self._sandbox.list(
                tx,
                limit=request.limit,
                after=after,
                before=before,
                recipient=check_text(request.recipient, "recipient"),
            )
        return pb.ListSandboxMessagesResponse(messages=found, has_more=more)

    @map_errors
    async def GetSandboxMessage(  # noqa: N802
        self, request: pb.GetSandboxMessageRequest, context: Context
    ) -> pb.GetSandboxMessageResponse:
        tenant_id = parse_id(request.tenant_id, "tenant_id")
        message_id = parse_id(request.id, "id")
        async with self._tenant_database.transaction(tenant_id=tenant_id) as tx:
            found = await self._sandbox.get(tx, message_id)
        if found is None:
            raise RequestError("sandbox message not found", grpc.StatusCode.NOT_FOUND)
        return pb.GetSandboxMessageResponse(message=found)

    @map_errors
    async def GetDomainReports(  # noqa: N802
        self, request: pb.GetDomainReportsRequest, context: Context
    ) -> pb.GetDomainReportsResponse:
        tenant_id = parse_id(request.tenant_id, "tenant_id")
        domain_id = parse_id(request.domain_id, "domain_id")
        kind = check_text(request.kind, "kind")
        period = DayRange(parse_day(request.since, "since"), parse_day(request.until, "until"))
        async with self._tenant_database.transaction(tenant_id=tenant_id) as tx:
            days = await domain_reports.days(tx, domain_id, kind=kind, period=period)
            rows = await domain_reports.rows(tx, domain_id, kind=kind, period=period)
        return to_response(days, rows)

    @map_errors
    async def EraseMessages(  # noqa: N802
        self, request: pb.EraseMessagesRequest, context: Context
    ) -> pb.EraseMessagesResponse:
        if len(request.message_ids) > KEYS_MAX:
            raise RequestError(f"too many ids. Send at most {KEYS_MAX}.")
        ids = [parse_id(one, "message_ids") for one in request.message_ids]
        tenant_id = parse_id(request.tenant_id, "tenant_id")
        if "@" not in request.address:  # an empty text would be found everywhere
            raise RequestError("address is no email address.")
        pattern = pattern_of(check_text(request.address, "address"))
        async with self._system_database.transaction() as tx:
            open_ids = await erasure.erase_messages(tx, tenant_id, ids, pattern=pattern)
        return pb.EraseMessagesResponse(open_ids=open_ids)

    @map_errors
    async def CheckEgressHosts(  # noqa: N802
        self, request: pb.CheckEgressHostsRequest, context: Context
    ) -> pb.CheckEgressHostsResponse:
        if len(request.addresses) > HOSTED_MAX:
            raise RequestError(f"too many addresses. Send at most {HOSTED_MAX}.")
        pairs = [(one.egress_host, one.address) for one in request.addresses]
        problems = await self._egress_hosts.check_all(pairs)
        return pb.CheckEgressHostsResponse(problems=problems)


def parse_day(text: str, name: str) -> date:
    """Raises RequestError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise RequestError(f"{name} is no date: YYYY-MM-DD", field=name) from None


def to_response(
    days: Sequence[DayReportCounts], rows: Sequence[tuple[Detail, int]]
) -> pb.GetDomainReportsResponse:
    response = pb.GetDomainReportsResponse(
        days=[
            pb.ReportDay(
                day=str(one.day), reports=one.reports, passed=one.passed, failed=one.failed
            )
            for one in days
        ]
    )
    for detail, count in rows:
        fields = msgspec.structs.asdict(detail)
        if isinstance(detail, DmarcFigureKey):
            response.sources.add(messages=count, **fields)
        else:
            response.results.add(sessions=count, **fields)
    return response
