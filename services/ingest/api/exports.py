"""Exports of events and emails, for REST and gRPC. The events service writes the files."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any, Literal

import msgspec
from google.protobuf.json_format import MessageToDict
from msgspec import Meta

from contracts.events.v1 import events_service_pb2 as pb
from services.ingest.api.administration.directory import parse_id
from services.ingest.api.body_times import parse_body_time
from services.ingest.api.callers import Caller
from services.ingest.api.response_schemas import Status
from services.ingest.api.rest_base import format_timestamp
from services.ingest.api.tenant_slots import TenantSlots
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel
from services.ingest.domain.patterns import LINE
from services.ingest.domain.problem import Problem
from services.ingest.store.directory_lists import PageBounds

EmailEventType = Literal[
    "email.sent", "email.scheduled", "email.held", "email.released", "email.delivered",
    "email.delivery_delayed", "email.bounced", "email.failed", "email.suppressed",
    "email.canceled", "email.complained", "email.opened", "email.clicked", "email.unsubscribed",
]  # fmt: skip
Text = Annotated[str, Meta(max_length=400, pattern=LINE)]
When = Annotated[str, Meta(min_length=1, max_length=64)]
DOWNLOADS_MAX, TENANT_DOWNLOADS_MAX = 20, 2
FULL = "There are too many exports of this account. Delete one, or wait until one is complete."
BUSY = "There are too many downloads. Wait until one is complete."
RETRY_S = 60


class ExportFilter(RequestModel):
    """What is given must match. type: of events, one of them. site, bounce_class, message_id: of
    events. status: of emails. since, until: ISO 8601; when the event was recorded, or the email
    accepted; until is now by default."""

    type: Annotated[list[EmailEventType], Meta(max_length=20)] = msgspec.field(default_factory=list)
    to: Text = ""
    domain: Text = ""
    tag: Text = ""
    site: Text = ""
    bounce_class: Text = ""
    message_id: Annotated[str, Meta(max_length=1_000, pattern=LINE)] = ""
    status: Status | Literal[""] = ""
    since: When | None = None
    until: When | None = None


class CreateExportRequest(RequestModel):
    """What to export, as which file."""

    kind: Literal["events", "emails"] = "events"
    format: Literal["csv", "ndjson"] = "csv"
    filter: ExportFilter = msgspec.field(default_factory=ExportFilter)


class ExportResource:
    """Those of a tenant, or of a whole account. A test key sees its own, of test mail."""

    def __init__(self, clients: ServiceClients) -> None:
        self._events = clients.events
        self._slots = TenantSlots(DOWNLOADS_MAX, TENANT_DOWNLOADS_MAX)

    async def create(self, caller: Caller, given: CreateExportRequest) -> pb.Export:
        """Raises Problem 429 if the account has too many."""
        account_id = caller.tenant.account_id if caller.tenant else caller.account_id
        request = pb.CreateExportRequest(
            tenant_id=caller.tenant_id, account_id=account_id, test_only=caller.test,
            kind=given.kind, format=given.format, filter=filter_of(given.filter),
        )  # fmt: skip
        response = await self._events.call(self._events.stub.CreateExport, request)
        if not response.HasField("export"):
            raise Problem(429, "rate_limit_exceeded", detail=FULL, retry_after_s=RETRY_S)
        return response.export

    async def page(self, caller: Caller, page: PageBounds) -> tuple[Sequence[pb.Export], bool]:
        """Newest first; those of a tenant, or of an account and all its tenants."""
        request = pb.ListExportsRequest(
            **caller.owner._asdict(), test_only=caller.test, **page._asdict()
        )
        response = await self._events.call(self._events.stub.ListExports, request)
        return response.exports, response.has_more

    async def get(self, caller: Caller, export_id: str) -> pb.Export:
        request = pb.GetExportRequest(**selector_of(caller, export_id))
        return (await self._events.call(self._events.stub.GetExport, request)).export

    async def delete(self, caller: Caller, export_id: str) -> str:
        """The id. Stops an export that is not complete."""
        request = pb.DeleteExportRequest(**selector_of(caller, export_id))
        return (await self._events.call(self._events.stub.DeleteExport, request)).id

    @asynccontextmanager
    async def download(self, caller: Caller, export_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The file in parts, in this block. Raises Problem: 409 if it is not complete."""
        request = pb.DownloadExportRequest(**selector_of(caller, export_id))
        with self._slots.slot(caller.tenant_id or caller.account_id, BUSY):
            responses = self._events.stream(self._events.stub.DownloadExport, request)
            async with aclosing(responses):
                first = await anext(responses)

                async def parts() -> AsyncIterator[bytes]:
                    yield first.content
                    async for one in responses:
                        yield one.content

                yield parts()


def selector_of(caller: Caller, export_id: str) -> dict[str, Any]:
    """The fields of a request that name an export, and who asks. Raises Problem."""
    identifier = parse_id(export_id, "the export")
    return {**caller.owner._asdict(), "id": identifier, "test_only": caller.test}


def filter_of(given: ExportFilter) -> pb.ExportFilter:
    """Raises Problem."""
    moments = {"since": given.since, "until": given.until}
    return pb.ExportFilter(
        types=given.type, to=given.to, domain=given.domain, tag=given.tag, site=given.site,
        bounce_class=given.bounce_class, message_id=given.message_id, status=given.status,
        **{name: parse_body_time(text, f"filter/{name}") for name, text in moments.items() if text},
    )  # fmt: skip


def to_json(export: pb.Export) -> dict[str, object]:
    shown = MessageToDict(export.filter, preserving_proto_field_name=True)
    if "types" in shown:
        shown["type"] = shown.pop("types")
    for name in ("since", "until"):
        if export.filter.HasField(name):
            shown[name] = format_timestamp(getattr(export.filter, name))
    return {
        "object": "export",
        "id": export.id,
        "tenant_id": export.tenant_id or None,
        "kind": export.kind,
        "format": export.format,
        "filter": shown,
        "status": export.status,
        "rows": export.rows,
        "bytes": export.bytes,
        "truncated": export.truncated,
        "failure": export.failure or None,
        "reached_at": format_timestamp(export.reached_at),
        "created_at": format_timestamp(export.created_at),
        "completed_at": format_timestamp(export.completed_at),
        "expires_at": format_timestamp(export.expires_at),
    }
