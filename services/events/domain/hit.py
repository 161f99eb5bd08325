"""Hits on tracking links, pixels and unsubscribe links, as the spool has them.

A hit has only what its tracking mode allows to keep, so that nothing else is ever on a disk.
"""

from enum import IntEnum
from ipaddress import IPv4Address, ip_network
from typing import NamedTuple

import msgspec

from kernel.crypto import keyed_hash, sha256
from mail import bot_hits
from mail.bot_hits import BotRule
from mail.reachable import canonical_ip
from mail.tracking import TrackingMode
from mail.user_agent import reduce_user_agent

USER_AGENT_MAX = 1_000
MINUTES_OF_DAY = 1_440
ID_OCTETS = 8  # of the hashes of links and sources


class HitKind(IntEnum):
    """Stored in spools, so a number never changes."""

    OPEN = 1
    CLICK = 2
    UNSUBSCRIBE = 3


class RequestClient(NamedTuple):
    """Who made a request. method: GET or HEAD."""

    ip: str
    user_agent: str
    method: str


class RecordedHit(msgspec.Struct, frozen=True, array_like=True):
    """target: the link of a click, the list of an unsubscription. source: hash of the client.
    method: GET or HEAD; one_click or page. certainty: of machine_reason, or empty. recipient, test:
    of an unsubscription, for the time when the log no longer has the message."""

    kind: HitKind
    mode: TrackingMode
    tenant_id: str
    message_id: str
    at_ms: int
    target: str = ""
    source: str = ""
    method: str = "GET"
    ip: str = ""
    user_agent: str = ""
    machine_reason: str = ""
    certainty: str = ""
    recipient: str = ""
    test: bool = False

    @property
    def minute(self) -> int:
        """Unix time in minutes: repeats within one are one event."""
        return self.at_ms // 60_000

    @property
    def day(self) -> int:
        """Days since 1970-01-01: repeats of an unsubscription within one are one event."""
        return self.minute // MINUTES_OF_DAY

    @property
    def key(self) -> tuple[object, ...]:
        """What makes a hit a repeat of another. Of one length: tens of thousands are kept."""
        time = self.day if self.kind == HitKind.UNSUBSCRIBE else self.minute
        return self.kind, self.message_id, link_id_of(self.target), time, self.source


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(RecordedHit)
encode_hit = _encoder.encode


def decode_hit(record: bytes) -> RecordedHit:
    """Raises ValueError."""
    return _decoder.decode(record)


class ClientAnonymizer:
    """Reduces what is known of a client to what a tracking mode keeps. key: of the hash of sources.
    rules: those of bot_hits, and the operator's."""

    def __init__(self, key: bytes, rules: tuple[BotRule, ...]) -> None:
        self._key = key
        self.rules = rules

    def reduce(self, hit: RecordedHit, client: RequestClient) -> RecordedHit:
        """The hit with its source, its client as far as its mode keeps it, and the reason for which
        it is a machine's, by what is known at once."""
        ip, user_agent = client.ip, client.user_agent[:USER_AGENT_MAX]
        kind = bot_hits.CLICK if hit.kind == HitKind.CLICK else bot_hits.OPEN
        request = bot_hits.TrackingHit(kind, client.method, user_agent, ip=ip)
        rule = bot_hits.matching_rule(request, self.rules)
        full, known = hit.mode == TrackingMode.FULL, hit.mode >= TrackingMode.IDENTIFIED
        return msgspec.structs.replace(
            hit,
            method=client.method,
            source=self._source_of(client),
            ip=(ip if full else network_of(ip)) if known else "",
            user_agent=(user_agent if full else reduce_user_agent(user_agent)) if known else "",
            machine_reason=rule.reason if rule else "",
            certainty=rule.certainty if rule else "",
        )

    def _source_of(self, client: RequestClient) -> str:
        named = f"{network_of(client.ip)}\n{client.method}\n{client.user_agent}"
        return keyed_hash(self._key, named)[:ID_OCTETS].hex()


def network_of(ip: str) -> str:
    """The /24 of an IPv4 address, the /48 of an IPv6 address: `192.0.2.0/24`; empty if unknown."""
    try:
        address = canonical_ip(ip)
    except ValueError:
        return ""
    prefix = 24 if isinstance(address, IPv4Address) else 48
    return str(ip_network(f"{address}/{prefix}", strict=False))


def link_id_of(link: str) -> str:
    """A short hash of a link: its identity in events."""
    return sha256(link)[:ID_OCTETS].hex()
