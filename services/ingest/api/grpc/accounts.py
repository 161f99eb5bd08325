"""contracts.ingest.v1.AccountService."""

from contracts.ingest.v1 import account_service_pb2 as pb
from contracts.ingest.v1.account_service_pb2_grpc import AccountServiceServicer
from contracts.ingest.v1.directory_pb2 import Account
from services.ingest.api.administration.accounts import (
    AccountResource,
    CreateAccountRequest,
    SuspendAccountRequest,
    UpdateAccountRequest,
)
from services.ingest.api.administration.views import account_to_json
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


class AccountServicer(AccountServiceServicer):
    def __init__(self, access: RpcAccess, accounts: AccountResource) -> None:
        self.access = access
        self._accounts = accounts

    @authenticated
    async def CreateAccount(
        self, request: pb.CreateAccountRequest, caller: Caller, _: Context
    ) -> pb.CreateAccountResponse:
        given = given_fields(request, CreateAccountRequest)
        account = await self._accounts.create(caller, given)
        return pb.CreateAccountResponse(account=to_proto(account))

    @authenticated
    async def ListAccounts(
        self, request: pb.ListAccountsRequest, _: Caller, __: Context
    ) -> pb.ListAccountsResponse:
        found, has_more = await self._accounts.page(page_of(request), name=request.name)
        accounts = [to_proto(one) for one in found]
        token = next_page_token(accounts, has_more=has_more)
        return pb.ListAccountsResponse(accounts=accounts, next_page_token=token)

    @authenticated
    async def GetAccount(
        self, request: pb.GetAccountRequest, caller: Caller, _: Context
    ) -> pb.GetAccountResponse:
        account = await self._accounts.get(caller, request.id)
        return pb.GetAccountResponse(account=to_proto(account))

    @authenticated
    async def UpdateAccount(
        self, request: pb.UpdateAccountRequest, caller: Caller, _: Context
    ) -> pb.UpdateAccountResponse:
        given = given_fields(request, UpdateAccountRequest)
        account = await self._accounts.update(caller, request.id, given)
        return pb.UpdateAccountResponse(account=to_proto(account))

    @authenticated
    async def DeleteAccount(
        self, request: pb.DeleteAccountRequest, caller: Caller, _: Context
    ) -> pb.DeleteAccountResponse:
        deleted = await self._accounts.delete(caller, request.id)
        return pb.DeleteAccountResponse(id=deleted.account_id)

    @authenticated
    async def SuspendAccount(
        self, request: pb.SuspendAccountRequest, caller: Caller, _: Context
    ) -> pb.SuspendAccountResponse:
        given = given_fields(request, SuspendAccountRequest)
        account = await self._accounts.suspend(caller, request.id, given.reason)
        return pb.SuspendAccountResponse(account=to_proto(account))

    @authenticated
    async def ResumeAccount(
        self, request: pb.ResumeAccountRequest, caller: Caller, _: Context
    ) -> pb.ResumeAccountResponse:
        account = await self._accounts.resume(caller, request.id)
        return pb.ResumeAccountResponse(account=to_proto(account))


def to_proto(account: Account) -> pb.AccountInfo:
    return proto_from_json(pb.AccountInfo, account_to_json(account))
