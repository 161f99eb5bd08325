"""The attempts of webhook deliveries, which can be replayed."""

from kernel.migrate import grant_tenant, sql
from kernel.tenant_accounts import allow_account_reads

revision, down_revision = "0014", "0012"


def upgrade() -> None:
    # domain.webhook_attempt_record.WebhookAttemptRecord, oldest first; the latest 50.
    sql("ALTER TABLE webhook_deliveries ADD COLUMN attempts text[] NOT NULL DEFAULT '{}'")
    grant_tenant("webhook_deliveries", "UPDATE")
    allow_account_reads("unpartitioned_log")  # an account sees what its webhooks receive
