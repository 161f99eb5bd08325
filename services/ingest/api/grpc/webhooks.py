"""contracts.ingest.v1.WebhookService."""

from contracts.events.v1.events_service_pb2 import Webhook
from contracts.ingest.v1 import webhook_service_pb2 as pb
from contracts.ingest.v1.webhook_service_pb2_grpc import WebhookServiceServicer
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
from services.ingest.api.webhooks import (
    NewWebhook,
    UpdateWebhook,
    Webhooks,
    delivery_to_json,
    to_json,
)


class WebhookServicer(WebhookServiceServicer):
    def __init__(self, access: RpcAccess, webhooks: Webhooks) -> None:
        self.access = access
        self._webhooks = webhooks

    @authenticated
    async def CreateWebhook(
        self, request: pb.CreateWebhookRequest, caller: Caller, _: Context
    ) -> pb.CreateWebhookResponse:
        given = given_fields(request, NewWebhook)
        return pb.CreateWebhookResponse(
            webhook=to_proto(await self._webhooks.create(caller, given))
        )

    @authenticated
    async def ListWebhooks(
        self, request: pb.ListWebhooksRequest, caller: Caller, _: Context
    ) -> pb.ListWebhooksResponse:
        found, has_more = await self._webhooks.page(caller, page_of(request))
        token = next_page_token(found, has_more=has_more)
        return pb.ListWebhooksResponse(webhooks=map(to_proto, found), next_page_token=token)

    @authenticated
    async def GetWebhook(
        self, request: pb.GetWebhookRequest, caller: Caller, _: Context
    ) -> pb.GetWebhookResponse:
        found = await self._webhooks.get(caller, request.id)
        return pb.GetWebhookResponse(webhook=to_proto(found))

    @authenticated
    async def UpdateWebhook(
        self, request: pb.UpdateWebhookRequest, caller: Caller, _: Context
    ) -> pb.UpdateWebhookResponse:
        given = given_fields(request, UpdateWebhook)
        changed = await self._webhooks.update(caller, request.id, given)
        return pb.UpdateWebhookResponse(webhook=to_proto(changed))

    @authenticated
    async def DeleteWebhook(
        self, request: pb.DeleteWebhookRequest, caller: Caller, _: Context
    ) -> pb.DeleteWebhookResponse:
        return pb.DeleteWebhookResponse(id=await self._webhooks.delete(caller, request.id))

    @authenticated
    async def TestWebhook(
        self, request: pb.TestWebhookRequest, caller: Caller, _: Context
    ) -> pb.TestWebhookResponse:
        return pb.TestWebhookResponse(id=await self._webhooks.test(caller, request.id))

    @authenticated
    async def ListWebhookDeliveries(
        self, request: pb.ListWebhookDeliveriesRequest, caller: Caller, _: Context
    ) -> pb.ListWebhookDeliveriesResponse:
        found, has_more = await self._webhooks.deliveries(caller, request.id, page_of(request))
        deliveries = [
            proto_from_json(pb.WebhookDeliveryInfo, delivery_to_json(one)) for one in found
        ]
        token = found[-1].event_id.removeprefix("evt_") if has_more else ""
        return pb.ListWebhookDeliveriesResponse(deliveries=deliveries, next_page_token=token)


def to_proto(webhook: Webhook) -> pb.WebhookInfo:
    return proto_from_json(pb.WebhookInfo, to_json(webhook))
