"""Failures of egress hosts, which are no attempts at the receiving server."""

from services.delivery.domain.attempt_result import (
    DATA,
    EGRESS_HOST,
    EHLO,
    GREETING,
    MAIL,
    RCPT,
    STARTTLS,
    AttemptResult,
)

# The problems: it does not answer, refuses the token, or does not own the address.
UNREACHABLE, TOKEN, ADDRESS = "unreachable", "token", "address"
TEXTS = {
    UNREACHABLE: "the egress host of {} does not answer",
    TOKEN: "the egress host of {} refuses delivery",
    ADDRESS: "the egress host of {} does not own that address",
}
# Steps at which no server has seen the end of data.
BEFORE_END_OF_DATA = frozenset((GREETING, EHLO, STARTTLS, MAIL, RCPT, DATA))


def host_failure(source: str, problem: str) -> AttemptResult:
    """Without the name of the host: customers see it in timelines."""
    return AttemptResult(EGRESS_HOST, problem=TEXTS[problem].format(source))


def is_lost_connection(result: AttemptResult) -> bool:
    """Whether a connection ended before end of data, without a reply: the server may have done it,
    or the egress host."""
    return result.reply is None and not result.refusal and result.step in BEFORE_END_OF_DATA
