"""Recipients who want to be forgotten, for REST and gRPC."""

from google.protobuf.json_format import ParseDict

from contracts.ingest.v1 import recipient_service_pb2 as pb
from mail import address as mail_address
from mail.address import AddressError
from services.ingest.api.administration.directory import check_page, parse_id, query_or_503
from services.ingest.api.callers import Caller, check_live
from services.ingest.api.rest_base import format_time
from services.ingest.domain.problem import Fault, invalid, not_found
from services.ingest.store.directory_lists import EntryOwner, PageBounds
from services.ingest.store.erasures import Erasure, ErasureStore

WHAT = "the erasure"
POINTER = "#/path/address"


class ErasureResource:
    """Those of a tenant; with the key of an account that names none, those of all its tenants. A
    test key is refused with Problem 403: an erasure concerns live mail."""

    def __init__(self, store: ErasureStore) -> None:
        self._store = store

    async def erase(self, caller: Caller, address: str) -> Erasure:
        """Durable; the rest happens in the background. Raises Problem."""
        check_live(caller.key, "recipients to erase")
        try:
            canonical = mail_address.canonical(mail_address.parse_mailbox(address)).address
        except AddressError as error:
            detail = f"Invalid address {address[:80]}: {error}."
            raise invalid([Fault(POINTER, "invalid_address", detail)]) from None
        account_id = caller.tenant.account_id if caller.tenant else caller.account_id
        owner = EntryOwner(account_id, caller.tenant_id)
        return await query_or_503(self._store.create(owner, canonical, actor=caller.actor))

    async def page(self, caller: Caller, page: PageBounds) -> tuple[list[Erasure], bool]:
        """A page, newest first, and whether more follows."""
        check_live(caller.key, "erasures")
        return await query_or_503(self._store.page(caller.owner, check_page(page)))

    async def get(self, caller: Caller, erasure_id: str) -> Erasure:
        """Raises Problem 404."""
        check_live(caller.key, "erasures")
        wanted = parse_id(erasure_id, WHAT)
        found, _ = await query_or_503(
            self._store.page(caller.owner, PageBounds(1), erasure_id=wanted)
        )
        if not found:
            raise not_found(WHAT)
        return found[0]


def erasure_to_json(one: Erasure) -> dict[str, object]:
    return {
        "object": "erasure",
        "id": one.erasure_id,
        "tenant_id": one.tenant_id or None,
        "scope": "tenant" if one.tenant_id else "account",
        "status": "completed" if one.completed_at else "running",
        "messages": one.messages,
        "created_at": format_time(one.created_at),
        "completed_at": one.completed_at and format_time(one.completed_at),
        "topics_expire_at": format_time(one.topics_expire_at),
    }


def erasure_to_proto(one: Erasure) -> pb.ErasureInfo:
    return ParseDict(erasure_to_json(one), pb.ErasureInfo(), ignore_unknown_fields=True)
