"""Erasure of recipients, for ingest, which asks for one page after the other."""

from typing import Any

from contracts.events.v1.events_service_pb2 import (
    EraseMessagesRequest,
    EraseMessagesResponse,
    EraseSuppressionEventsRequest,
    EraseSuppressionEventsResponse,
    ListRecipientMessagesRequest,
    ListRecipientMessagesResponse,
)
from contracts.events.v1.events_service_pb2 import RecipientMessage as MessageReference
from kernel.database import Database
from kernel.failpoint import failpoint
from kernel.ids import NIL
from kernel.redaction import pattern_of
from kernel.rpc import Context, RequestError, check_text, map_errors, parse_id
from kernel.times import clamp_timestamp
from services.events.api.requests import owner_of
from services.events.store import erasure
from services.events.store.erasure import START, RecipientMessage, SuppressionPosition

PAGE_MAX = 100


class ErasureRpcs:
    system_database: Database

    @map_errors
    async def ListRecipientMessages(  # noqa: N802 - a name of the contract
        self, request: ListRecipientMessagesRequest, _: Context
    ) -> ListRecipientMessagesResponse:
        async with self.system_database.transaction() as tx:
            found = await erasure.messages_of(
                tx,
                owner_of(request),
                address_of(request),
                until=clamp_timestamp(request.until),
                after=place_of(request),
                limit=min(request.limit or PAGE_MAX, PAGE_MAX),
            )
        messages = [MessageReference(**one._asdict()) for one in found]
        return ListRecipientMessagesResponse(messages=messages)

    @map_errors
    async def EraseMessages(  # noqa: N802 - a name of the contract
        self, request: EraseMessagesRequest, _: Context
    ) -> EraseMessagesResponse:
        if len(request.messages) > PAGE_MAX:
            raise RequestError(f"too many messages. Send at most {PAGE_MAX}.")
        messages = [reference_of(one) for one in request.messages]
        if len({one.tenant_id for one in messages}) > 1:
            raise RequestError("the messages belong to several tenants. Send those of one.")
        pattern = pattern_of(address_of(request))
        async with self.system_database.transaction() as tx:
            await erasure.erase_messages(tx, messages, pattern)
            failpoint("events.erasure.in_transaction")
        return EraseMessagesResponse()

    @map_errors
    async def EraseSuppressionEvents(  # noqa: N802 - a name of the contract
        self, request: EraseSuppressionEventsRequest, _: Context
    ) -> EraseSuppressionEventsResponse:
        async with self.system_database.transaction() as tx:
            following = await erasure.erase_suppression_events(
                tx, owner_of(request), address_of(request), after=page_start(request.page_token)
            )
        return EraseSuppressionEventsResponse(next_page_token="/".join(following or ()))


def page_start(token: str) -> SuppressionPosition:
    if not token:
        return START
    parts = [parse_id(one, "page_token") for one in token.split("/")]
    if len(parts) != len(START):
        raise RequestError("page_token is none of a response.")
    return SuppressionPosition(*parts)


def place_of(request: ListRecipientMessagesRequest) -> RecipientMessage:
    if not request.HasField("last"):
        return RecipientMessage(str(NIL), str(NIL), "")
    return reference_of(request.last)


def address_of(request: Any) -> str:  # noqa: ANN401 - any request
    """An empty text would be found everywhere."""
    if "@" not in request.address:
        raise RequestError("address is no email address.")
    return check_text(request.address, "address")


def reference_of(one: MessageReference) -> RecipientMessage:
    return RecipientMessage(
        parse_id(one.message_id, "message_id"),
        parse_id(one.email_id, "email_id"),
        parse_id(one.tenant_id, "tenant_id"),
    )
