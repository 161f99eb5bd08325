"""contracts.ingest.v1.MailboxService."""

import msgspec

from contracts.ingest.v1 import mailbox_service_pb2 as pb
from contracts.ingest.v1.directory_pb2 import Mailbox
from contracts.ingest.v1.mailbox_service_pb2_grpc import MailboxServiceServicer
from services.ingest.api.administration.mailboxes import (
    CreateMailboxRequest,
    MailboxBatch,
    MailboxResource,
    MailboxWithPassword,
    RotateMailboxRequest,
    UpdateMailboxRequest,
)
from services.ingest.api.administration.views import mailbox_to_json, mailboxes_to_json
from services.ingest.api.callers import Caller
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    given_fields,
    next_page_token,
    page_of,
    proto_from_json,
)
from services.ingest.api.grpc.server import Context


class CreateMailboxesRequest(msgspec.Struct):
    """mailboxes: the body of the REST operation."""

    mailboxes: MailboxBatch


class MailboxServicer(MailboxServiceServicer):
    def __init__(self, access: RpcAccess, mailboxes: MailboxResource) -> None:
        self.access = access
        self._mailboxes = mailboxes

    @authenticated
    async def CreateMailbox(
        self, request: pb.CreateMailboxRequest, caller: Caller, _: Context
    ) -> pb.CreateMailboxResponse:
        given = given_fields(request, CreateMailboxRequest)
        [new] = await self._mailboxes.create(caller, [given])
        return self._created(new)

    @authenticated
    async def CreateMailboxes(
        self, request: pb.CreateMailboxesRequest, caller: Caller, _: Context
    ) -> pb.CreateMailboxesResponse:
        given = given_fields(request, CreateMailboxesRequest).mailboxes
        made = await self._mailboxes.create(caller, given, pointer="#/mailboxes/{}/address")
        return pb.CreateMailboxesResponse(created=map(self._created, made))

    @authenticated
    async def ListMailboxes(
        self, request: pb.ListMailboxesRequest, caller: Caller, _: Context
    ) -> pb.ListMailboxesResponse:
        found, has_more = await self._mailboxes.page(
            caller, page_of(request), address=request.address
        )
        shown = await mailboxes_to_json(self._mailboxes, caller, found)
        mailboxes = [proto_from_json(pb.MailboxInfo, one) for one in shown]
        token = next_page_token(mailboxes, has_more=has_more)
        return pb.ListMailboxesResponse(mailboxes=mailboxes, next_page_token=token)

    @authenticated
    async def GetMailbox(
        self, request: pb.GetMailboxRequest, caller: Caller, _: Context
    ) -> pb.GetMailboxResponse:
        found = await self._mailboxes.get(caller, request.id)
        return pb.GetMailboxResponse(mailbox=await self._shown(caller, found))

    @authenticated
    async def UpdateMailbox(
        self, request: pb.UpdateMailboxRequest, caller: Caller, _: Context
    ) -> pb.UpdateMailboxResponse:
        given = given_fields(request, UpdateMailboxRequest)
        changed = await self._mailboxes.update(caller, request.id, given)
        return pb.UpdateMailboxResponse(mailbox=await self._shown(caller, changed))

    @authenticated
    async def RotateMailbox(
        self, request: pb.RotateMailboxRequest, caller: Caller, _: Context
    ) -> pb.RotateMailboxResponse:
        given = given_fields(request, RotateMailboxRequest)
        new = await self._mailboxes.rotate(caller, request.id, given)
        mailbox = await self._shown(caller, new.mailbox)
        return pb.RotateMailboxResponse(mailbox=mailbox, password=new.password)

    @authenticated
    async def DeleteMailbox(
        self, request: pb.DeleteMailboxRequest, caller: Caller, _: Context
    ) -> pb.DeleteMailboxResponse:
        deleted = await self._mailboxes.delete(caller, request.id)
        return pb.DeleteMailboxResponse(id=deleted.mailbox_id)

    def _created(self, new: MailboxWithPassword) -> pb.CreateMailboxResponse:
        shown = mailbox_to_json(new.mailbox, self._mailboxes.smtp_of(new.mailbox))
        mailbox = proto_from_json(pb.MailboxInfo, shown)
        return pb.CreateMailboxResponse(mailbox=mailbox, password=new.password)

    async def _shown(self, caller: Caller, mailbox: Mailbox) -> pb.MailboxInfo:
        [shown] = await mailboxes_to_json(self._mailboxes, caller, [mailbox])
        return proto_from_json(pb.MailboxInfo, shown)
