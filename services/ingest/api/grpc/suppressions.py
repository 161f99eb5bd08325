"""contracts.ingest.v1.SuppressionService."""

from contextlib import closing

from contracts.ingest.v1 import suppression_service_pb2 as pb
from contracts.ingest.v1.suppression_service_pb2_grpc import SuppressionServiceServicer
from contracts.router.v1.router_service_pb2 import Suppression
from services.ingest.api.callers import Caller
from services.ingest.api.grpc.base import (
    INVALID_TOKEN,
    RpcAccess,
    authenticated,
    checked_json,
    given_fields,
    next_page_token,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context, discard_messages, read_messages
from services.ingest.api.suppression_files import (
    FileScope,
    SuppressionFileResource,
    failure_to_json,
    import_to_proto,
)
from services.ingest.api.suppressions import (
    AddSuppressionRequest,
    AddSuppressionsRequest,
    ListSuppressionsRequest,
    SuppressionResource,
    SuppressionSelector,
    to_json,
)
from services.ingest.domain.problem import Fault, Problem, invalid


class SuppressionServicer(SuppressionServiceServicer):
    def __init__(
        self, access: RpcAccess, suppressions: SuppressionResource, files: SuppressionFileResource
    ) -> None:
        self.access = access
        self._suppressions = suppressions
        self._files = files

    @authenticated
    async def AddSuppression(
        self, request: pb.AddSuppressionRequest, caller: Caller, _: Context
    ) -> pb.AddSuppressionResponse:
        new = given_fields(request, AddSuppressionRequest)
        [added] = await self._suppressions.add(caller, [new.email], new, pointer="#/email")
        return pb.AddSuppressionResponse(suppression=to_proto(added))

    @authenticated
    async def AddSuppressions(
        self, request: pb.AddSuppressionsRequest, caller: Caller, _: Context
    ) -> pb.AddSuppressionsResponse:
        new = given_fields(request, AddSuppressionsRequest)
        added = await self._suppressions.add(caller, new.emails, new, pointer="#/emails")
        return pb.AddSuppressionsResponse(ids=[one.id for one in added])

    @authenticated
    async def ListSuppressions(
        self, request: pb.ListSuppressionsRequest, caller: Caller, _: Context
    ) -> pb.ListSuppressionsResponse:
        wanted = given_fields(request, ListSuppressionsRequest)
        found, has_more = await self._suppressions.page(caller, page_of(request), wanted)
        token = next_page_token(found, has_more=has_more)
        return pb.ListSuppressionsResponse(suppressions=map(to_proto, found), next_page_token=token)

    @authenticated
    async def GetSuppression(
        self, request: pb.GetSuppressionRequest, caller: Caller, _: Context
    ) -> pb.GetSuppressionResponse:
        checked_json(request)
        found = await self._suppressions.get(caller, request.email, of_list=request.list)
        return pb.GetSuppressionResponse(suppression=to_proto(found))

    @authenticated
    async def DeleteSuppression(
        self, request: pb.DeleteSuppressionRequest, caller: Caller, _: Context
    ) -> pb.DeleteSuppressionResponse:
        checked_json(request)
        removed = await self._suppressions.remove_one(
            caller, request.email, of_list=request.list, force=request.force
        )
        return pb.DeleteSuppressionResponse(id=removed.id)

    @authenticated
    async def RemoveSuppressions(
        self, request: pb.RemoveSuppressionsRequest, caller: Caller, _: Context
    ) -> pb.RemoveSuppressionsResponse:
        which = given_fields(request, SuppressionSelector)
        removed = await self._suppressions.remove(caller, which)
        return pb.RemoveSuppressionsResponse(ids=[one.id for one in removed])

    @authenticated
    async def ExportSuppressions(  # type: ignore[override]  # it writes its responses
        self, _: pb.ExportSuppressionsRequest, caller: Caller, context: Context
    ) -> None:
        async for csv in await self._files.export(caller):
            await context.write(pb.ExportSuppressionsResponse(csv=csv))

    @authenticated
    async def CreateSuppressionImport(
        self, request: pb.CreateSuppressionImportRequest, caller: Caller, context: Context
    ) -> pb.CreateSuppressionImportResponse:
        with closing(
            self.access.bodies.reserve(caller.tenant_id or caller.account_id)
        ) as reservation:
            first = pb.CreateSuppressionImportRequest(scope=request.scope)
            scope = given_fields(first, FileScope).scope
            messages = read_messages(context, reservation)
            try:
                async with self._files.upload(caller, scope) as upload:
                    await upload.feed(request.csv)
                    async for received in messages:
                        await upload.feed(received.message.csv)
                    found = await self._files.finish(caller, upload)
            except Problem:
                await discard_messages(messages)
                raise
        return pb.CreateSuppressionImportResponse(**{"import": import_to_proto(found)})

    @authenticated
    async def ListSuppressionImports(
        self, request: pb.ListSuppressionImportsRequest, caller: Caller, _: Context
    ) -> pb.ListSuppressionImportsResponse:
        found, has_more = await self._files.page(caller, page_of(request))
        imports = [import_to_proto(one) for one in found]
        token = next_page_token(imports, has_more=has_more)
        return pb.ListSuppressionImportsResponse(imports=imports, next_page_token=token)

    @authenticated
    async def GetSuppressionImport(
        self, request: pb.GetSuppressionImportRequest, caller: Caller, _: Context
    ) -> pb.GetSuppressionImportResponse:
        found = import_to_proto(await self._files.get(caller, request.id))
        return pb.GetSuppressionImportResponse(**{"import": found})

    @authenticated
    async def DeleteSuppressionImport(
        self, request: pb.DeleteSuppressionImportRequest, caller: Caller, _: Context
    ) -> pb.DeleteSuppressionImportResponse:
        deleted = await self._files.delete(caller, request.id)
        return pb.DeleteSuppressionImportResponse(id=deleted)

    @authenticated
    async def ListSuppressionImportResults(
        self, request: pb.ListSuppressionImportResultsRequest, caller: Caller, _: Context
    ) -> pb.ListSuppressionImportResultsResponse:
        page = page_of(request, are_ids=False)
        found, has_more = await self._files.failures(
            caller, request.id, after=line_of(page.after), limit=page.limit
        )
        return pb.ListSuppressionImportResultsResponse(
            results=[
                proto_from_json(pb.SuppressionImportFailure, failure_to_json(one)) for one in found
            ],
            next_page_token=str(found[-1].line) if has_more else "",
        )


def line_of(token: str) -> int:
    """The number of a line that a page_token is. Raises Problem."""
    if not token:
        return 0
    if not (token.isascii() and token.isdigit() and len(token) < 10):
        raise invalid([Fault("#/page_token", "invalid", INVALID_TOKEN)])
    return int(token)


def to_proto(one: Suppression) -> pb.SuppressionInfo:
    return proto_from_json(pb.SuppressionInfo, to_json(one))
