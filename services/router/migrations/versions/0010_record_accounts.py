"""Requests that add rows record the account of their tenant."""

from kernel.tenant_accounts import allow_recording

revision, down_revision = "0010", "0009"


def upgrade() -> None:
    allow_recording()
