"""What the end of a dialogue means: RFC 5321 §4.2.1, §4.5.3.2 and §6.1."""

from dataclasses import dataclass

from contracts.delivery.v1 import events_pb2 as events
from contracts.router.v1.events_pb2 import DeliveryAssigned
from mail import bounce
from mail.reply import Reply, clean

# The steps of a dialogue, in their order.
CONNECT, GREETING, EHLO, STARTTLS = "connect", "greeting", "ehlo", "starttls"
MAIL, RCPT, DATA, DOT = "mail", "rcpt", "data", "dot"

ENVELOPE_STEPS = frozenset((MAIL, RCPT, DATA))
SERVICE_CLOSING = 421
# Said with a 5yz code by some, and over tomorrow all the same: a full mailbox, a rate, a greylist,
# the number of recipients (RFC 5321 §4.5.3.1.10).
LATER = frozenset((bounce.Action.RETRY, bounce.Action.SLOW_DOWN))


@dataclass(frozen=True, slots=True)
class Peer:
    """Who was spoken to. tls: the version, empty for clear text. certificate: its SHA-256 in hex.
    verified: whether its chain proves the name of the host."""

    mx: str = ""
    remote_ip: str = ""
    local_ip: str = ""
    tls: str = ""
    cipher: str = ""
    certificate: str = ""
    verified: bool = False

    @property
    def connected(self) -> bool:
        return bool(self.local_ip)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a dialogue ended, and where.

    reply: what was answered, None when nothing was. problem: our words for that.
    refusal: the bounce class of what we refuse ourselves, before anything is said.
    """

    step: str = ""
    reply: Reply | None = None
    problem: str = ""
    peer: Peer = Peer()
    refusal: str = ""
    enhanced: str = ""  # of a refusal of our own


STALE = Ending(problem="the assignment came too late")


def refused(bounce_class: str, problem: str, *, enhanced: str = "", peer: Peer = Peer()) -> Ending:
    """What this message can never do, whoever is asked; bounce_class: a word for it."""
    return Ending(problem=problem, refusal=bounce_class, enhanced=enhanced, peer=peer)


def outcome_of(ending: Ending) -> "events.Outcome.ValueType":
    """The meaning of an ending for its message."""
    if ending is STALE:
        return events.OUTCOME_STALE
    if ending.refusal:
        return events.OUTCOME_PERMANENT
    if ending.step == DOT:
        return _after_the_dot(ending)
    if ending.reply is None or ending.step not in ENVELOPE_STEPS:
        return events.OUTCOME_TEMPORARY  # a host that will not talk says nothing of the recipient
    return _refusal(ending)


def _after_the_dot(ending: Ending) -> "events.Outcome.ValueType":
    reply = ending.reply
    if reply is None or 300 <= reply.code < 400:
        return events.OUTCOME_AMBIGUOUS  # it may have been taken: only its answer would tell
    return events.OUTCOME_DELIVERED if reply.is_positive else _refusal(ending)


def _refusal(ending: Ending) -> "events.Outcome.ValueType":
    """Its class decides, not its code alone."""
    permanent = ending.reply is not None and ending.reply.is_permanent
    ends = permanent and bounce.named(bounce_class_of(ending)).action not in LATER
    return events.OUTCOME_PERMANENT if ends else events.OUTCOME_TEMPORARY


def bounce_class_of(ending: Ending) -> str:
    """The class of a refusal, empty where nothing was refused."""
    if ending.refusal:
        return ending.refusal
    reply = ending.reply
    if reply is None or reply.code < 400:
        return ""
    command = "DATA" if ending.step == DOT else ending.step.upper()
    return bounce.classify(reply.code, reply.enhanced, reply.text, command=command).name


def attempted(
    assignment: DeliveryAssigned, ending: Ending, *, at_ms: int, duration_ms: int = 0
) -> events.DeliveryAttempted:
    """The event about an assignment that came to its end. at_ms: Unix time."""
    envelope = assignment.envelope
    outcome = outcome_of(ending)
    event = events.DeliveryAttempted(
        message_id=assignment.message_id,
        attempt=assignment.attempt,
        tenant_id=envelope.tenant_id,
        email_id=envelope.email_id,
        recipient=envelope.recipient,
        outcome=outcome,
        reply=reply_of(ending),
        bounce_class=bounce_class_of(ending),
        connected=ending.peer.connected,
        ambiguous=outcome == events.OUTCOME_AMBIGUOUS,
        egress_id=assignment.egress_id,
        site=assignment.site,
        duration_ms=duration_ms,
        test=envelope.test,
    )
    event.attempted_at.FromMilliseconds(at_ms)
    return event


def reply_of(ending: Ending) -> events.Reply:
    reply, peer = ending.reply, ending.peer
    return events.Reply(
        code=reply.code if reply else 0,
        enhanced=reply.enhanced if reply else ending.enhanced,
        text=reply.text if reply else clean(ending.problem),
        step=ending.step,
        mx=peer.mx,
        remote_ip=peer.remote_ip,
        local_ip=peer.local_ip,
        tls=peer.tls,
        tls_cipher=peer.cipher,
        tls_certificate=peer.certificate,
        tls_verified=peer.verified,
    )
