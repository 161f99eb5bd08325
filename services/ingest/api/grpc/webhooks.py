"""contracts.ingest.v1.WebhookService."""

import msgspec

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
from services.ingest.api.webhook_events import (
    PREFIX,
    RecoverWebhookRequest,
    WebhookEventResource,
    attempt_to_json,
    event_to_json,
    recovery_to_json,
)
from services.ingest.api.webhooks import (
    CreateWebhookRequest,
    RotateWebhookSecretRequest,
    UpdateWebhookRequest,
    WebhookResource,
    to_json,
)


class WebhookServicer(WebhookServiceServicer):
    def __init__(
        self, access: RpcAccess, webhooks: WebhookResource, events: WebhookEventResource
    ) -> None:
        self.access = access
        self._webhooks = webhooks
        self._events = events

    @authenticated
    async def CreateWebhook(
        self, request: pb.CreateWebhookRequest, caller: Caller, _: Context
    ) -> pb.CreateWebhookResponse:
        given = given_fields(request, CreateWebhookRequest)
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
        given = given_fields(request, UpdateWebhookRequest)
        changed = await self._webhooks.update(caller, request.id, given)
        return pb.UpdateWebhookResponse(webhook=to_proto(changed))

    @authenticated
    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, caller: Caller, _: Context
    ) -> pb.RotateWebhookSecretResponse:
        given = given_fields(request, RotateWebhookSecretRequest)
        rotated = await self._webhooks.rotate_secret(caller, request.id, given)
        return pb.RotateWebhookSecretResponse(webhook=to_proto(rotated))

    @authenticated
    async def RevokePreviousWebhookSecret(
        self, request: pb.RevokePreviousWebhookSecretRequest, caller: Caller, _: Context
    ) -> pb.RevokePreviousWebhookSecretResponse:
        changed = await self._webhooks.revoke_previous_secret(caller, request.id)
        return pb.RevokePreviousWebhookSecretResponse(webhook=to_proto(changed))

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
    async def ListWebhookEvents(
        self, request: pb.ListWebhookEventsRequest, caller: Caller, _: Context
    ) -> pb.ListWebhookEventsResponse:
        found, has_more = await self._events.page(caller, request.id, page_of(request))
        events = [proto_from_json(pb.WebhookEventInfo, event_to_json(one)) for one in found]
        token = found[-1].id.removeprefix(PREFIX) if has_more else ""
        return pb.ListWebhookEventsResponse(events=events, next_page_token=token)

    @authenticated
    async def GetWebhookEvent(
        self, request: pb.GetWebhookEventRequest, caller: Caller, _: Context
    ) -> pb.GetWebhookEventResponse:
        found = await self._events.get(caller, request.id, request.event_id)
        event = proto_from_json(pb.WebhookEventInfo, event_to_json(found.event))
        response = pb.GetWebhookEventResponse(event=event)
        if found.payload:
            response.payload.update(msgspec.json.decode(found.payload))
        return response

    @authenticated
    async def ListWebhookEventAttempts(
        self, request: pb.ListWebhookEventAttemptsRequest, caller: Caller, _: Context
    ) -> pb.ListWebhookEventAttemptsResponse:
        found, has_more = await self._events.attempts(
            caller, request.id, event_id=request.event_id, page=page_of(request)
        )
        attempts = [proto_from_json(pb.WebhookAttemptInfo, attempt_to_json(one)) for one in found]
        token = next_page_token(found, has_more=has_more)
        return pb.ListWebhookEventAttemptsResponse(attempts=attempts, next_page_token=token)

    @authenticated
    async def ReplayWebhookEvent(
        self, request: pb.ReplayWebhookEventRequest, caller: Caller, _: Context
    ) -> pb.ReplayWebhookEventResponse:
        replayed = await self._events.replay(caller, request.id, request.event_id)
        return pb.ReplayWebhookEventResponse(id=replayed)

    @authenticated
    async def RecoverWebhook(
        self, request: pb.RecoverWebhookRequest, caller: Caller, _: Context
    ) -> pb.RecoverWebhookResponse:
        given = given_fields(request, RecoverWebhookRequest)
        started = await self._events.recover(caller, request.id, given)
        recovery = proto_from_json(pb.WebhookRecoveryInfo, recovery_to_json(started))
        return pb.RecoverWebhookResponse(recovery=recovery)

    @authenticated
    async def GetWebhookRecovery(
        self, request: pb.GetWebhookRecoveryRequest, caller: Caller, _: Context
    ) -> pb.GetWebhookRecoveryResponse:
        found = await self._events.recovery(caller, request.id)
        recovery = proto_from_json(pb.WebhookRecoveryInfo, recovery_to_json(found))
        return pb.GetWebhookRecoveryResponse(recovery=recovery)


def to_proto(webhook: Webhook) -> pb.WebhookInfo:
    return proto_from_json(pb.WebhookInfo, to_json(webhook))
