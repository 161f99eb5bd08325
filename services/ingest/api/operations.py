"""The operations of the OpenAPI document: their ids, responses and examples."""

from services.ingest.api import (
    domain_report_schemas,
    email_event_schemas,
    metrics_schemas,
    response_schemas,
)
from services.ingest.api.administration import schemas
from services.ingest.api.callers import (
    NAMING_TENANT,
    OF_ACCOUNT,
    OF_ANYBODY,
    OF_OPERATOR,
    SENDING,
    SPANNING,
    SPANNING_UNLESS_OPERATOR,
)
from services.ingest.api.campaign_operations import OPERATIONS as OF_CAMPAIGNS
from services.ingest.api.egress.operations import OPERATIONS as OF_EGRESS
from services.ingest.api.export_operations import OPERATIONS as OF_EXPORTS
from services.ingest.api.health_checks import OPERATIONS as OF_HEALTH
from services.ingest.api.held_operations import OPERATIONS as OF_HELD
from services.ingest.api.model_operations import OPERATIONS as OF_MODELS
from services.ingest.api.operation import Operation
from services.ingest.api.recipient_operations import OPERATIONS as OF_RECIPIENTS
from services.ingest.api.report_operations import OPERATIONS as OF_REPORTS
from services.ingest.api.request_log_operations import OPERATIONS as OF_LOGS
from services.ingest.api.suppression_operations import OPERATIONS as OF_SUPPRESSIONS
from services.ingest.api.usage_operations import OPERATIONS as OF_USAGE
from services.ingest.api.webhook_operations import OPERATIONS as OF_WEBHOOKS

ID = "01890000-0000-7000-8000-000000000000"
EXAMPLE_EMAIL = {
    "from": "Shop <hello@store.example.net>",
    "to": ["delivered@obm-sandbox.net"],
    "subject": "Your order",
    "text": "It is on its way.",
}


SEND = ("Idempotency-Key", "traceparent")
OPERATIONS = {
    "post /v1/emails": Operation(
        "sendEmail", response_schemas.SendEmailResponse, EXAMPLE_EMAIL, SEND, SENDING
    ),
    "post /v1/emails/batch": Operation(
        "sendEmailBatch",
        response_schemas.SendBatchResponse,
        [EXAMPLE_EMAIL, EXAMPLE_EMAIL],
        (*SEND, "x-batch-validation"),
        SENDING,
    ),
    "get /v1/emails": Operation(
        "listEmails", response_schemas.list_of(response_schemas.EmailSummary), access=SPANNING
    ),
    "get /v1/emails/metrics": Operation(
        "getEmailMetrics",
        metrics_schemas.MetricsResponse,
        access=OF_ANYBODY,
        media_types=("text/csv",),
    ),
    "get /v1/emails/{email_id}": Operation(
        "getEmail", response_schemas.EmailResponse, access=SPANNING
    ),
    "patch /v1/emails/{email_id}": Operation(
        "rescheduleEmail",
        response_schemas.EmailReference,
        {"scheduled_at": "in 2 hours"},
        access=SPANNING,
    ),
    "get /v1/emails/{email_id}/events": Operation(
        "listEmailEvents",
        response_schemas.list_of(email_event_schemas.EventResponse),
        access=SPANNING,
    ),
    "get /v1/emails/events": Operation(
        "searchEmailEvents", email_event_schemas.FoundEvents, access=SPANNING
    ),
    "get /v1/emails/events/stream": Operation(
        "streamEvents",
        None,
        headers=("Last-Event-ID",),
        access=SPANNING,
        media_types=("text/event-stream",),
    ),
    "post /v1/emails/{email_id}/cancel": Operation(
        "cancelEmail", response_schemas.EmailReference, access=SPANNING
    ),
    "get /v1/queues": Operation(
        "listQueues",
        response_schemas.list_of(response_schemas.QueueResponse),
        access=SPANNING_UNLESS_OPERATOR,
    ),
    "post /v1/queues/cancel": Operation(
        "cancelQueued",
        response_schemas.CancellationResponse,
        {"filter": {"recipient_domain": "example.net"}, "dry_run": True},
        access=NAMING_TENANT,
    ),
    "get /v1/limits": Operation(
        "listLimits", response_schemas.list_of(schemas.LimitUsageResponse), access=OF_OPERATOR
    ),
    "put /v1/limits": Operation(
        "setLimits",
        schemas.ScopeLimitsResponse,
        {"scope": "site/yahoo", "per_minute": 600},
        access=OF_OPERATOR,
    ),
    "post /v1/shield/score": Operation("scoreEmail", response_schemas.ScoreResponse, EXAMPLE_EMAIL),
    "get /v1/sandbox/messages": Operation(
        "listSandboxMessages", response_schemas.list_of(response_schemas.SandboxMessage)
    ),
    "get /v1/sandbox/messages/{message_id}": Operation(
        "getSandboxMessage", response_schemas.RawSandboxMessage
    ),
    "get /v1/sandbox/messages/{message_id}/raw": Operation(
        "getRawSandboxMessage", None, media_types=("message/rfc822",)
    ),
    "get /v1/domains": Operation(
        "listDomains", response_schemas.list_of(response_schemas.DomainSummary), access=OF_ANYBODY
    ),
    "get /v1/dkim-zone": Operation(
        "listDkimZone",
        response_schemas.list_of(schemas.DomainDkimRecordsResponse),
        access=OF_OPERATOR,
    ),
    "post /v1/domains": Operation(
        "createDomain",
        response_schemas.DomainResponse,
        {"name": "shop.example.net"},
        access=NAMING_TENANT,
    ),
    "get /v1/domains/{domain_id}": Operation(
        "getDomain", response_schemas.DomainResponse, access=NAMING_TENANT
    ),
    "patch /v1/domains/{domain_id}": Operation(
        "updateDomain",
        response_schemas.DomainResponse,
        {"click_tracking": False},
        access=NAMING_TENANT,
    ),
    "delete /v1/domains/{domain_id}": Operation(
        "deleteDomain", response_schemas.DeleteResponse, access=NAMING_TENANT
    ),
    "post /v1/domains/{domain_id}/rotate-dkim": Operation(
        "rotateDkim", response_schemas.DomainResponse, access=NAMING_TENANT
    ),
    "post /v1/domains/{domain_id}/verify": Operation(
        "verifyDomain", response_schemas.DomainReference, access=NAMING_TENANT
    ),
    "get /v1/domains/{domain_id}/dmarc": Operation(
        "getDomainDmarc", domain_report_schemas.DomainDmarc, access=NAMING_TENANT
    ),
    "get /v1/domains/{domain_id}/tls-reports": Operation(
        "getDomainTlsReports", domain_report_schemas.DomainTlsReports, access=NAMING_TENANT
    ),
    "post /v1/accounts": Operation(
        "createAccount",
        schemas.AccountResponse,
        {"name": "Acme", "billing_email": "billing@acme.example"},
        access=OF_OPERATOR,
    ),
    "get /v1/accounts": Operation(
        "listAccounts",
        response_schemas.list_of(schemas.AccountResponse),
        access=OF_OPERATOR,
    ),
    "get /v1/accounts/{account_id}": Operation(
        "getAccount", schemas.AccountResponse, access=OF_ACCOUNT
    ),
    "post /v1/brands": Operation(
        "createBrand",
        schemas.BrandResponse,
        {
            "name": "Acme Mail",
            "slug": "acme",
            "sandbox_domain": "sandbox.acme.example",
            "api_hosts": ["api.acme.example"],
        },
        access=OF_OPERATOR,
    ),
    "get /v1/brands": Operation(
        "listBrands", response_schemas.list_of(schemas.BrandResponse), access=OF_OPERATOR
    ),
    "get /v1/brands/{brand_id}": Operation("getBrand", schemas.BrandResponse, access=OF_ACCOUNT),
    "patch /v1/brands/{brand_id}": Operation(
        "updateBrand", schemas.BrandResponse, {"name": "Acme Post"}, access=OF_OPERATOR
    ),
    "delete /v1/brands/{brand_id}": Operation(
        "deleteBrand", response_schemas.DeleteResponse, access=OF_OPERATOR
    ),
    "post /v1/tenants": Operation(
        "createTenant",
        schemas.TenantResponse,
        {"name": "Shop"},
        access=OF_ACCOUNT,
    ),
    "get /v1/tenants": Operation(
        "listTenants", response_schemas.list_of(schemas.TenantResponse), access=OF_ACCOUNT
    ),
    "get /v1/tenants/{tenant_id}": Operation(
        "getTenant", schemas.TenantResponse, access=OF_ACCOUNT
    ),
    "patch /v1/accounts/{account_id}": Operation(
        "updateAccount", schemas.AccountResponse, {"plan": "pro"}, access=OF_OPERATOR
    ),
    "delete /v1/accounts/{account_id}": Operation(
        "deleteAccount", response_schemas.DeleteResponse, access=OF_OPERATOR
    ),
    "post /v1/accounts/{account_id}/suspend": Operation(
        "suspendAccount", schemas.AccountResponse, {"reason": "unpaid"}, access=OF_OPERATOR
    ),
    "post /v1/accounts/{account_id}/resume": Operation(
        "resumeAccount", schemas.AccountResponse, access=OF_OPERATOR
    ),
    "patch /v1/tenants/{tenant_id}": Operation(
        "updateTenant", schemas.TenantResponse, {"limits": {"per_day": 5_000}}, access=OF_ACCOUNT
    ),
    "delete /v1/tenants/{tenant_id}": Operation(
        "deleteTenant", response_schemas.DeleteResponse, access=OF_ACCOUNT
    ),
    "post /v1/tenants/{tenant_id}/pause": Operation(
        "pauseTenant", schemas.TenantResponse, {"reason": "complaints"}, access=OF_ACCOUNT
    ),
    "post /v1/tenants/{tenant_id}/resume": Operation(
        "resumeTenant", schemas.TenantResponse, access=OF_ACCOUNT
    ),
    "patch /v1/api-keys/{key_id}": Operation(
        "updateApiKey", schemas.ApiKeyResponse, {"name": "blog"}, access=OF_ANYBODY
    ),
    "post /v1/api-keys/{key_id}/rotate": Operation(
        "rotateApiKey", schemas.CreatedApiKey, {"grace_s": 3_600}, access=OF_ANYBODY
    ),
    "post /v1/mailboxes": Operation(
        "createMailbox",
        schemas.CreatedMailbox,
        {"address": "ann@store.example.net", "name": "Ann"},
        access=NAMING_TENANT,
    ),
    "post /v1/mailboxes/batch": Operation(
        "createMailboxes",
        schemas.CreatedMailboxes,
        [
            {"address": "bob@store.example.net", "limits": {"per_day": 500}},
            {"address": "printer@store.example.net", "any_address": True},
        ],
        access=NAMING_TENANT,
    ),
    "get /v1/mailboxes": Operation(
        "listMailboxes", response_schemas.list_of(schemas.MailboxResponse), access=OF_ANYBODY
    ),
    "get /v1/mailboxes/{mailbox_id}": Operation(
        "getMailbox", schemas.MailboxResponse, access=OF_ANYBODY
    ),
    "patch /v1/mailboxes/{mailbox_id}": Operation(
        "updateMailbox", schemas.MailboxResponse, {"status": "paused"}, access=OF_ANYBODY
    ),
    "post /v1/mailboxes/{mailbox_id}/rotate": Operation(
        "rotateMailbox", schemas.CreatedMailbox, {"grace_s": 3_600}, access=OF_ANYBODY
    ),
    "delete /v1/mailboxes/{mailbox_id}": Operation(
        "deleteMailbox", response_schemas.DeleteResponse, access=OF_ANYBODY
    ),
    "get /v1/audit": Operation(
        "listAuditEntries",
        response_schemas.list_of(schemas.AuditEntryResponse),
        access=OF_ACCOUNT,
    ),
    "get /v1/api-keys": Operation(
        "listApiKeys", response_schemas.list_of(schemas.ApiKeyResponse), access=OF_ANYBODY
    ),
    "post /v1/api-keys": Operation(
        "createApiKey", schemas.CreatedApiKey, {"name": "shop"}, access=OF_ANYBODY
    ),
    "delete /v1/api-keys/{key_id}": Operation(
        "deleteApiKey", response_schemas.DeleteResponse, access=OF_ANYBODY
    ),
    **OF_CAMPAIGNS,
    **OF_EGRESS,
    **OF_EXPORTS,
    **OF_HELD,
    **OF_MODELS,
    **OF_LOGS,
    **OF_HEALTH,
    **OF_RECIPIENTS,
    **OF_REPORTS,
    **OF_SUPPRESSIONS,
    **OF_USAGE,
    **OF_WEBHOOKS,
}
