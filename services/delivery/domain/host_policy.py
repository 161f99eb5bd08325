"""Whom to ask next: RFC 5321 §5.1, and which addresses are nobody's business."""

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

SESSIONS_MAX = 2  # that got as far as the envelope, per message; Postfix's smtp_mx_session_limit
ADDRESSES_MAX = 5  # per message, over all hosts; Postfix's smtp_mx_address_limit
SMTP_PORT = 25
SANDBOX = "sandbox"  # the egress of test mail, and of nothing else
BEFORE_MAIL = frozenset((CONNECT, GREETING, EHLO, STARTTLS))
BEFORE_DATA = frozenset((MAIL, RCPT))


def should_try_next_host(result: AttemptResult) -> bool:
    """Whether another host may answer better (RFC 5321 §5.1): this one did not let us begin, or
    hung up or put us off before any of the message was sent."""
    if result.refusal:
        return False
    put_off = result.reply is None or result.reply.is_transient
    return result.step in BEFORE_MAIL or (result.step in BEFORE_DATA and put_off)


def is_stale_connection(result: AttemptResult, *, used: int) -> bool:
    """Whether a kept connection ended while nobody looked: nothing was said, so say it again."""
    gone = result.reply is None or result.reply.code == SERVICE_CLOSING
    return used > 0 and result.step == MAIL and gone


def is_connection_reusable(result: AttemptResult) -> bool:
    """Whether the connection is still of use: the receiver answered, and not with good-bye."""
    return result.reply is not None and result.reply.code != SERVICE_CLOSING


def routing_error(assignment: DeliveryAssigned) -> AttemptResult | None:
    """Test mail goes to the sandbox and nowhere else, and nothing else goes there."""
    if assignment.context.test and assignment.egress_id != SANDBOX:
        return local_refusal("misrouted", "test mail may only go to the sandbox")
    if assignment.egress_id == SANDBOX and not assignment.context.test:
        return local_refusal("misrouted", "the sandbox takes test mail only")
    if not assignment.mx_hosts:
        return local_refusal("misrouted", "the assignment names no mail exchanger")
    return None


def port_of(exchanger: MxHost) -> int:
    return exchanger.port or SMTP_PORT


def sources_of(assignment: DeliveryAssigned) -> tuple[str, ...]:
    """The addresses that it may leave from, one of a family at most. None: the system chooses."""
    return tuple(one for one in (assignment.source_ip, assignment.source_ipv6) if one)


def reachable_pairs(
    addresses: Sequence[Address], sources: Sequence[str]
) -> list[tuple[Address, ...]]:
    """Those of the families that there is a source address for, in pairs of one of each, IPv4
    first, because its reputation is what senders have."""
    families = {ip_address(source).version for source in sources} or {4, 6}
    v4, v6 = (
        [one for one in addresses if one.version == family and family in families]
        for family in (4, 6)
    )
    return [tuple(one for one in pair if one) for pair in zip_longest(v4, v6)]


def unreachable_problem(host: str, addresses: Sequence[Address], sources: Sequence[str]) -> str:
    """Why a host is not dialed that has no address of the families of the sources."""
    listed = ", ".join(str(one) for one in addresses[:5])
    return f"{host} is at {listed} only, and the egress sends from {', '.join(sources)} only"
