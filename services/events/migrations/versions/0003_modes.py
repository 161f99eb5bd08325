"""Mark emails and webhook endpoints of test mail: test keys see only these."""

from kernel.migrate import sql

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    sql("ALTER TABLE emails ADD COLUMN test boolean NOT NULL DEFAULT false")
    sql("CREATE INDEX emails_test ON emails (tenant_id, email_id) WHERE test")
    sql("ALTER TABLE webhooks ADD COLUMN test boolean NOT NULL DEFAULT false")
