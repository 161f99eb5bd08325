"""contracts.ingest.v1.WebhookService."""

from contracts.events.v1.events_service_pb2 import Webhook
from contracts.ingest.v1 import webhook_service_pb2 as pb
from contracts.ingest.v1.webhook_service_pb2_grpc import WebhookServiceServicer
from services.ingest.api.access import Principal
from services.ingest.api.grpc.base import (
    RpcAccess,
    authenticated,
    given_fields,
    next_page_token,
    page_of,
    shown_as,
)
from services.ingest.api.grpc.server import Context
from services.ingest.api.webhooks import NewWebhook, Webhooks, delivery_to_json, to_json


class WebhookServicer(WebhookServiceServicer):
    def __init__(self, access: RpcAccess, webhooks: Webhooks) -> None:
        self.access = access
        self._webhooks = webhooks

    @authenticated
    async def CreateWebhook(
        self, request: pb.CreateWebhookRequest, principal: Principal, _: Context
    ) -> pb.CreateWebhookResponse:
        given = given_fields(request, NewWebhook)
        return pb.CreateWebhookResponse(
            webhook=shown(await self._webhooks.create(principal, given))
        )

    @authenticated
    async def ListWebhooks(
        self, request: pb.ListWebhooksRequest, principal: Principal, _: Context
    ) -> pb.ListWebhooksResponse:
        found, has_more = await self._webhooks.page(principal, page_of(request))
        token = next_page_token(found, has_more=has_more)
        return pb.ListWebhooksResponse(webhooks=map(shown, found), next_page_token=token)

    @authenticated
    async def GetWebhook(
        self, request: pb.GetWebhookRequest, principal: Principal, _: Context
    ) -> pb.GetWebhookResponse:
        found = await self._webhooks.get(principal, request.id)
        return pb.GetWebhookResponse(webhook=shown(found))

    @authenticated
    async def DeleteWebhook(
        self, request: pb.DeleteWebhookRequest, principal: Principal, _: Context
    ) -> pb.DeleteWebhookResponse:
        return pb.DeleteWebhookResponse(id=await self._webhooks.delete(principal, request.id))

    @authenticated
    async def TestWebhook(
        self, request: pb.TestWebhookRequest, principal: Principal, _: Context
    ) -> pb.TestWebhookResponse:
        return pb.TestWebhookResponse(id=await self._webhooks.test(principal, request.id))

    @authenticated
    async def ListWebhookDeliveries(
        self, request: pb.ListWebhookDeliveriesRequest, principal: Principal, _: Context
    ) -> pb.ListWebhookDeliveriesResponse:
        found, has_more = await self._webhooks.deliveries(principal, request.id, page_of(request))
        deliveries = [shown_as(pb.WebhookDeliveryInfo, delivery_to_json(one)) for one in found]
        token = found[-1].event_id.removeprefix("evt_") if has_more else ""
        return pb.ListWebhookDeliveriesResponse(deliveries=deliveries, next_page_token=token)


def shown(webhook: Webhook) -> pb.WebhookInfo:
    return shown_as(pb.WebhookInfo, to_json(webhook))
