"""The bodies of requests that the HTTP server refuses before the app has them."""

from collections.abc import Callable

from kernel.brand import Brands
from kernel.http_server import HEAD_BYTES_MAX, HEADERS_MAX, URL_BYTES_MAX, Refusal
from services.ingest.api.responses import problem_body
from services.ingest.domain.problem import Problem

PROBLEMS = {
    400: ("bad_request", "The request is not HTTP/1.1 with one Host field."),
    501: ("not_implemented", "Unsupported transfer coding. Use chunked."),
    408: ("request_timeout", "The request did not arrive in time."),
    503: ("service_unavailable", "Too many connections. Retry the request."),
    414: ("uri_too_long", f"The URL is longer than {URL_BYTES_MAX} octets."),
    431: (
        "header_too_large",
        f"The header has more than {HEADERS_MAX} fields or {HEAD_BYTES_MAX} octets.",
    ),
}


def refusal_of(brands: Brands) -> Callable[[int], Refusal]:
    """Takes a status. The host is not known yet, so the body has the name of the neutral brand."""

    def refusal(status: int) -> Refusal:
        name, detail = PROBLEMS[status]
        problem = Problem(status, name, detail=detail)
        body = problem_body(problem, brand=brands.neutral, path="", request_id="")
        return Refusal(b"application/json", body)

    return refusal
