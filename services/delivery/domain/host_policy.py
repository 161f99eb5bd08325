"""The choice of hosts and addresses for an attempt: RFC 5321 §5.1."""

from collections.abc import Sequence
from ipaddress import ip_address
from itertools import zip_longest

from contracts.router.v1.events_pb2 import DeliveryAssigned, MxHost
from mail.reachable import Address
from services.delivery.domain.attempt_result import (
    CONNECT,
    EHLO,
    GREETING,
    MAIL,
    RCPT,
    SERVICE_CLOSING,
    STARTTLS,
    AttemptResult,
    local_refusal,
)

SESSIONS_MAX = 2  # that reach MAIL FROM, per message; as smtp_mx_session_limit of Postfix
ADDRESSES_MAX = 5  # per message, over all hosts; as smtp_mx_address_limit of Postfix
SMTP_PORT = 25
SANDBOX = "sandbox"  # the egress source of test mail, and of no other mail
BEFORE_MAIL = frozenset((CONNECT, GREETING, EHLO, STARTTLS))
BEFORE_DATA = frozenset((MAIL, RCPT))


def should_try_next_host(result: AttemptResult) -> bool:
    """Whether to try another host (RFC 5321 §5.1): this one refused the session, or disconnected
    or deferred the message before DATA."""
    if result.refusal:
        return False
    deferred = result.reply is None or result.reply.is_transient
    return result.step in BEFORE_MAIL or (result.step in BEFORE_DATA and deferred)


def is_stale_connection(result: AttemptResult, *, used: int) -> bool:
    """Whether the server had closed an idle connection before this message used it."""
    closed = result.reply is None or result.reply.code == SERVICE_CLOSING
    return used > 0 and result.step == MAIL and closed


def server_keeps_connection(result: AttemptResult) -> bool:
    """Whether the connection can be used again: the server replied, and not with 421."""
    return result.reply is not None and result.reply.code != SERVICE_CLOSING


def routing_error(assignment: DeliveryAssigned) -> AttemptResult | None:
    """A refusal unless test mail goes to the sandbox, and other mail does not."""
    if assignment.context.test and assignment.egress_id != SANDBOX:
        return local_refusal("misrouted", "test mail must go to the sandbox")
    if assignment.egress_id == SANDBOX and not assignment.context.test:
        return local_refusal("misrouted", "the sandbox accepts only test mail")
    if not assignment.mx_hosts:
        return local_refusal("misrouted", "the assignment has no MX host")
    return None


def port_of(mx_host: MxHost) -> int:
    return mx_host.port or SMTP_PORT


def sources_of(assignment: DeliveryAssigned) -> tuple[str, ...]:
    """The source addresses, at most one per family; empty lets the system choose."""
    return tuple(one for one in (assignment.source_ip, assignment.source_ipv6) if one)


def reachable_pairs(
    addresses: Sequence[Address], sources: Sequence[str]
) -> list[tuple[Address, ...]]:
    """The addresses of the families of the sources, in pairs of one IPv4 and one IPv6 address. IPv4
    comes first, because senders build their reputation on it."""
    families = {ip_address(source).version for source in sources} or {4, 6}
    v4, v6 = (
        [one for one in addresses if one.version == family and family in families]
        for family in (4, 6)
    )
    return [tuple(one for one in pair if one) for pair in zip_longest(v4, v6)]


def unreachable_problem(host: str, addresses: Sequence[Address], sources: Sequence[str]) -> str:
    """The reason why a host without an address of the sources' families is not dialed."""
    listed = ", ".join(str(one) for one in addresses[:5])
    return f"{host} is only at {listed}, but the egress source sends only from {', '.join(sources)}"
