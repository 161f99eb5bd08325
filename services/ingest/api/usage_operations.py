"""The operations of usage and invoices."""

from services.ingest.api import usage_schemas
from services.ingest.api.callers import OF_ACCOUNT, OF_ANYBODY
from services.ingest.api.operation import Operation

OPERATIONS = {
    "get /v1/usage": Operation("getUsage", usage_schemas.UsageResponse, access=OF_ANYBODY),
    "get /v1/invoices/preview": Operation(
        "previewInvoice", usage_schemas.InvoicePreview, access=OF_ACCOUNT
    ),
}
