"""SMTP replies for the problems of a request: RFC 5321 §4.2, RFC 3463."""

from services.ingest.domain.problem import Problem

SENDER_OK = "250 2.1.0 Ok"
RECIPIENT_OK = "250 2.1.5 Ok"
LOGGED_IN = "235 2.7.0 Authentication successful"
LOGIN_FAILED = "535 5.7.8 Authentication credentials invalid"
TENANT_MISSING = (
    "535 5.7.8 This is the key of an account: the username must be the id or the external_id of one"
    " of its tenants"
)
MAILBOX_PAUSED = "525 5.7.13 This mailbox is paused"  # RFC 5248, of a disabled user
LOGIN_UNAVAILABLE = "454 4.7.0 Temporary authentication failure"
INTERNAL_ERROR = "451 4.3.0 An internal error occurred"
_CODES = {
    "invalid_from_address": "550 5.7.1",
    "tenant_paused": "550 5.7.1",
    "mailbox_paused": "550 5.7.1",
    "account_suspended": "550 5.7.1",
    "plan_required": "550 5.7.1",
    "monthly_quota_exceeded": "554 5.7.1",
    "daily_quota_exceeded": "452 4.7.1",
    "invalid_idempotent_request": "554 5.6.0",
    "invalid_idempotency_key": "554 5.6.0",
    "concurrent_idempotent_requests": "451 4.3.0",
    "rate_limit_exceeded": "450 4.7.1",
    "storage_quota_exceeded": "452 4.3.1",
    "message_too_large": "552 5.3.4",
    "validation_error": "554 5.6.0",
}
# Otherwise by status. 421 also ends the session: the client shall try again later.
_STATUSES = {
    401: "530 5.7.0",
    403: "530 5.7.0",
    404: "530 5.7.0",  # the tenant of an account is gone
    422: "554 5.6.0",
    429: "450 4.7.1",
    503: "421 4.3.2",
}


def reply_of(problem: Problem) -> str:
    code = _CODES.get(problem.name) or _STATUSES.get(problem.status, "451 4.3.0")
    return f"{code} {problem.detail}".replace("§", "section ")  # replies are ASCII


def too_many_logins(wait_s: float) -> str:
    return f"454 4.7.0 Too many failed logins. Wait {max(1, round(wait_s))} s"
