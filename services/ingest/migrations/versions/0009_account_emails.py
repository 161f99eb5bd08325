"""Row-level security of emails by account, to find the tenant of an id."""

from kernel.tenant_accounts import allow_account_reads

revision, down_revision = "0009", "0008"


def upgrade() -> None:
    allow_account_reads("emails", tenants="tenants", column="id")
