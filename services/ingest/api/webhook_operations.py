"""The operations on webhooks, for the OpenAPI document."""

from services.ingest.api.callers import SPANNING
from services.ingest.api.operation import Operation
from services.ingest.api.response_schemas import DeleteResponse, list_of
from services.ingest.api.webhook_schemas import (
    TestEvent,
    WebhookAttemptResponse,
    WebhookEventReference,
    WebhookEventResponse,
    WebhookEventSummary,
    WebhookRecoveryResponse,
    WebhookResponse,
)

OPERATIONS = {
    "post /v1/webhooks": Operation(
        "createWebhook",
        WebhookResponse,
        {"endpoint": "https://hooks.example.com/mail", "events": ["email.delivered"]},
        access=SPANNING,
    ),
    "get /v1/webhooks": Operation("listWebhooks", list_of(WebhookResponse), access=SPANNING),
    "get /v1/webhooks/{webhook_id}": Operation("getWebhook", WebhookResponse, access=SPANNING),
    "patch /v1/webhooks/{webhook_id}": Operation(
        "updateWebhook", WebhookResponse, {"status": "enabled"}, access=SPANNING
    ),
    "post /v1/webhooks/{webhook_id}/signing-secret/rotate": Operation(
        "rotateWebhookSecret", WebhookResponse, {"grace_s": 86_400}, access=SPANNING
    ),
    "post /v1/webhooks/{webhook_id}/signing-secret/revoke-previous": Operation(
        "revokePreviousWebhookSecret", WebhookResponse, access=SPANNING
    ),
    "delete /v1/webhooks/{webhook_id}": Operation("deleteWebhook", DeleteResponse, access=SPANNING),
    "post /v1/webhooks/{webhook_id}/test": Operation("testWebhook", TestEvent, access=SPANNING),
    "get /v1/webhooks/{webhook_id}/events": Operation(
        "listWebhookEvents", list_of(WebhookEventSummary), access=SPANNING
    ),
    "get /v1/webhooks/{webhook_id}/events/{event_id}": Operation(
        "getWebhookEvent", WebhookEventResponse, access=SPANNING
    ),
    "get /v1/webhooks/{webhook_id}/events/{event_id}/attempts": Operation(
        "listWebhookEventAttempts", list_of(WebhookAttemptResponse), access=SPANNING
    ),
    "post /v1/webhooks/{webhook_id}/events/{event_id}/replay": Operation(
        "replayWebhookEvent", WebhookEventReference, access=SPANNING
    ),
    "post /v1/webhooks/{webhook_id}/recover": Operation(
        "recoverWebhook",
        WebhookRecoveryResponse,
        {"since": "2026-11-28T06:00:00Z", "types": ["email.bounced"]},
        access=SPANNING,
    ),
    "get /v1/webhooks/{webhook_id}/recovery": Operation(
        "getWebhookRecovery", WebhookRecoveryResponse, access=SPANNING
    ),
}
