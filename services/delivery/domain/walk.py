"""Whom to ask next: RFC 5321 §5.1, and which addresses are nobody's business."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from contracts.router.v1.events_pb2 import DeliveryAssigned, MailExchanger
from services.delivery.domain.ending import (
    CONNECT,
    EHLO,
    GREETING,
    MAIL,
    RCPT,
    SERVICE_CLOSING,
    STARTTLS,
    Ending,
    refused,
)

DIALOGUES_MAX = 2  # that got as far as the envelope, per message; Postfix's smtp_mx_session_limit
ADDRESSES_MAX = 5  # per message, over all hosts; Postfix's smtp_mx_address_limit
SMTP_PORT = 25
SANDBOX = "sandbox"  # the egress of test mail, and of nothing else
UNOPENED = frozenset((CONNECT, GREETING, EHLO, STARTTLS))
UNSENT = frozenset((MAIL, RCPT))

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
NAT64 = IPv6Network("64:ff9b::/96")


def asks_next(ending: Ending) -> bool:
    """Whether another host may answer better (RFC 5321 §5.1): this one did not let us begin, or
    hung up or put us off before any of the message was sent."""
    if ending.refusal:
        return False
    put_off = ending.reply is None or ending.reply.is_transient
    return ending.step in UNOPENED or (ending.step in UNSENT and put_off)


def died_idle(ending: Ending, *, used: int) -> bool:
    """Whether a kept connection ended while nobody looked: nothing was said, so say it again."""
    gone = ending.reply is None or ending.reply.code == SERVICE_CLOSING
    return used > 0 and ending.step == MAIL and gone


def keeps_open(ending: Ending) -> bool:
    """Whether the connection is still of use: the receiver answered, and not with good-bye."""
    return ending.reply is not None and ending.reply.code != SERVICE_CLOSING


def misrouted(assignment: DeliveryAssigned) -> Ending | None:
    """Test mail goes to the sandbox and nowhere else, and nothing else goes there."""
    if assignment.envelope.test and assignment.egress_id != SANDBOX:
        return refused("misrouted", "test mail may only go to the sandbox")
    if assignment.egress_id == SANDBOX and not assignment.envelope.test:
        return refused("misrouted", "the sandbox takes test mail only")
    if not assignment.exchangers:
        return refused("misrouted", "the assignment names no mail exchanger")
    return None


def port_of(exchanger: MailExchanger) -> int:
    return exchanger.port or SMTP_PORT


def may_dial(address: Address, allowed: Iterable[Network]) -> bool:
    """Whether an address is on the public internet, or the operator allows it by name.

    Addresses that carry another in them (mapped, 6to4, NAT64) are judged by that one.
    """
    if any(address in network for network in allowed):
        return True
    if isinstance(address, IPv6Address) and (inner := embedded(address)) is not None:
        return may_dial(inner, allowed)
    return address.is_global and not address.is_multicast


def embedded(address: IPv6Address) -> IPv4Address | None:
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def dialable(addresses: Sequence[Address], source_ip: str) -> list[Address]:
    """Those that a source address can reach, IPv4 first: its reputation is what senders have."""
    if source_ip:
        version = ip_address(source_ip).version
        return [address for address in addresses if address.version == version]
    return sorted(addresses, key=lambda address: address.version)
