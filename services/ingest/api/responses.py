"""Response bodies and headers. The error body satisfies RFC 9457 and Resend's clients."""

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from kernel.brand import Brand
from services.ingest.domain.problem import Problem
from services.ingest.domain.rate_limiter import RateLimitStatus

Headers = list[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json")
PROBLEM_JSON = (b"content-type", b"application/problem+json")

encode = msgspec.json.Encoder().encode


def problem_body(problem: Problem, *, brand: Brand, path: str, request_id: str) -> bytes:
    return encode(
        {
            "type": brand.problem_type + problem.name,
            "title": HTTPStatus(problem.status).phrase,
            "status": problem.status,
            "detail": problem.detail,
            "instance": path,
            "request_id": request_id,
            "errors": [
                {"pointer": fault.pointer, "code": fault.code, "detail": fault.detail}
                for fault in problem.faults
            ],
            "name": problem.name,
            "message": problem.detail,
            "statusCode": problem.status,
        }
    )


def problem_headers(problem: Problem, accept: str) -> Headers:
    wants_problem = "application/problem+json" in accept
    headers = [PROBLEM_JSON if wants_problem else JSON]
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % problem.retry_after_s))
    if problem.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if problem.name == "unsupported_content_encoding":
        headers.append((b"accept-encoding", b"identity"))  # RFC 9110 §15.5.16
    return headers


def rate_limit_headers(rate_limit: RateLimitStatus) -> Sequence[tuple[bytes, bytes]]:
    """Resend's three fields, and those of draft-ietf-httpapi-ratelimit-headers-11."""
    limit, remaining, reset = (
        b"%d" % rate_limit.limit,
        b"%d" % rate_limit.remaining,
        b"%d" % rate_limit.reset_s,
    )
    return (
        (b"ratelimit-limit", limit),
        (b"ratelimit-remaining", remaining),
        (b"ratelimit-reset", reset),
        (b"ratelimit-policy", b'"default";q=%b;w=1' % limit),
        (b"ratelimit", b'"default";r=%b;t=%b' % (remaining, reset)),
    )
