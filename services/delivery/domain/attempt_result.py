"""Results of attempts, and the outcomes that they mean: RFC 5321 §4.2.1, §4.5.3.2 and §6.1."""

from dataclasses import dataclass, field
from typing import NamedTuple

from contracts.delivery.v1 import events_pb2 as events
from contracts.router.v1.events_pb2 import DeliveryAssigned
from mail import bounce
from mail.smtp_reply import Reply, clean_text
from mail.tls_chain import ChainFault
from mail.tlsa import Tlsa

# The steps of a session, in order.
EGRESS_HOST = "egress_host"  # the machine that owns the source address failed before all others
DNS = "dns"  # the name of the host was looked up, and DNS has not answered
CONNECT, GREETING, EHLO, STARTTLS = "connect", "greeting", "ehlo", "starttls"
MAIL, RCPT, DATA, END_OF_DATA = "mail", "rcpt", "data", "end_of_data"

# What protected a message: nothing, TLS without a requirement, or what required it.
CLEAR_TEXT, OPPORTUNISTIC = "none", "opportunistic"
MTA_STS, DANE, ENFORCED = "mta-sts", "dane", "enforced"

ENVELOPE_STEPS = frozenset((MAIL, RCPT, DATA))
SERVICE_CLOSING = 421
DIALOGUE_CHARS_MAX = 512  # of a command, and of a reply
# Some servers send a 5yz code for a condition that passes: a full mailbox, a rate limit, a
# greylist, too many recipients (RFC 5321 §4.5.3.1.10).
RETRY_ACTIONS = frozenset((bounce.BounceAction.RETRY, bounce.BounceAction.SLOW_DOWN))


@dataclass(frozen=True, slots=True)
class ReceivingServer:
    """The receiving server of a session.

    tls: the version, empty for clear text. certificate: its SHA-256 in hex. verified: whether the
    certificate chain is valid for the host name. policy: what requires TLS; empty if nothing does.
    fault: of a certificate that is not verified.
    matched: the TLSA records, of which one authenticates it, and the names for which it does.
    """

    mx: str = ""
    remote_ip: str = ""
    local_ip: str = ""
    tls: str = ""
    cipher: str = ""
    certificate: str = ""
    verified: bool = False
    policy: str = ""
    fault: ChainFault | None = None
    matched: tuple[tuple[Tlsa, ...], tuple[str, ...]] | None = None

    @property
    def connected(self) -> bool:
        return bool(self.local_ip)


class CommandAndReply(NamedTuple):
    """A command as it was sent, and its reply; None if there was none."""

    command: bytes
    reply: Reply | None


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of an attempt, and the step at which the session ended.

    reply: None when the server sent none; then problem is the reason. refusal: the bounce class of
    a message that delivery itself refuses to send. enhanced: the enhanced status code, if delivery
    itself has decided. dialogue: what was exchanged for the message; no part of what the result
    means.
    """

    step: str = ""
    reply: Reply | None = None
    problem: str = ""
    peer: ReceivingServer = ReceivingServer()
    refusal: str = ""
    enhanced: str = ""
    dialogue: tuple[CommandAndReply, ...] = field(default=(), compare=False)

    @property
    def is_policy_failure(self) -> bool:
        """Whether the host did not have the TLS that this message requires; others may not."""
        return self.step == STARTTLS and bool(self.peer.policy)

    @property
    def is_host_failure(self) -> bool:
        """Whether the egress host failed, so that this was no attempt."""
        return self.step == EGRESS_HOST


STALE = AttemptResult(problem="the assignment arrived too late")


def local_refusal(
    bounce_class: str,
    problem: str,
    *,
    enhanced: str = "",
    peer: ReceivingServer = ReceivingServer(),
) -> AttemptResult:
    """A refusal by delivery itself: no server could accept this message."""
    return AttemptResult(problem=problem, refusal=bounce_class, enhanced=enhanced, peer=peer)


def outcome_of(result: AttemptResult) -> "events.AttemptOutcome.ValueType":
    """The outcome for the message."""
    if result is STALE:
        return events.ATTEMPT_OUTCOME_STALE
    if result.is_host_failure:
        return events.ATTEMPT_OUTCOME_EGRESS_FAILED
    if result.refusal:
        return events.ATTEMPT_OUTCOME_PERMANENT
    if result.step == END_OF_DATA:
        return _after_end_of_data(result)
    if result.reply is None or result.step not in ENVELOPE_STEPS:
        # A server that refuses the session has not decided about the recipient.
        return events.ATTEMPT_OUTCOME_TEMPORARY
    return _refusal(result)


def _after_end_of_data(result: AttemptResult) -> "events.AttemptOutcome.ValueType":
    reply = result.reply
    if reply is None or 300 <= reply.code < 400:
        # The server may have accepted the message; only its reply would show that.
        return events.ATTEMPT_OUTCOME_AMBIGUOUS
    return events.ATTEMPT_OUTCOME_DELIVERED if reply.is_positive else _refusal(result)


def _refusal(result: AttemptResult) -> "events.AttemptOutcome.ValueType":
    """The bounce class decides, not the reply code alone."""
    permanent = result.reply is not None and result.reply.is_permanent
    ends = permanent and bounce.class_by_name(bounce_class_of(result)).action not in RETRY_ACTIONS
    return events.ATTEMPT_OUTCOME_PERMANENT if ends else events.ATTEMPT_OUTCOME_TEMPORARY


def bounce_class_of(result: AttemptResult) -> str:
    """The bounce class of a refusal; empty if nothing was refused."""
    if result.refusal:
        return result.refusal
    reply = result.reply
    if reply is None or reply.code < 400:
        return ""
    command = "DATA" if result.step == END_OF_DATA else result.step.upper()
    return bounce.classify(reply.code, reply.enhanced, reply.text, command=command).name


def attempted_event(
    assignment: DeliveryAssigned, result: AttemptResult, *, at_ms: int, duration_ms: int = 0
) -> events.DeliveryAttempted:
    """The event of a finished attempt. at_ms: Unix time."""
    context = assignment.context
    outcome = outcome_of(result)
    event = events.DeliveryAttempted(
        message_id=assignment.message_id,
        attempt=assignment.attempt,
        tenant_id=context.tenant_id,
        email_id=context.email_id,
        recipient=context.recipient,
        outcome=outcome,
        reply=reply_of(result),
        bounce_class=bounce_class_of(result),
        # A receiver that never saw the message has refused nothing: capacity and warmup come back.
        connected=result.peer.connected and not result.is_policy_failure,
        ambiguous=outcome == events.ATTEMPT_OUTCOME_AMBIGUOUS,
        egress_id=assignment.egress_id,
        site=assignment.site,
        duration_ms=duration_ms,
        test=context.test,
        domain_id=context.domain_id,
        campaign_id=context.campaign_id,
        dialogue=[_exchange_to_proto(one) for one in result.dialogue],
    )
    event.attempted_at.FromMilliseconds(at_ms)
    return event


def _exchange_to_proto(exchange: CommandAndReply) -> events.SmtpExchange:
    """The text of a reply is clean already, and a command ours; an address may be any UTF-8."""
    command = exchange.command[: DIALOGUE_CHARS_MAX * 4].rstrip().decode("utf-8", "replace")
    reply = exchange.reply
    if reply is None:
        return events.SmtpExchange(command=command[:DIALOGUE_CHARS_MAX])
    text = f"{reply.enhanced} {reply.text}" if reply.enhanced else reply.text
    return events.SmtpExchange(
        command=command[:DIALOGUE_CHARS_MAX], code=reply.code, reply=text[:DIALOGUE_CHARS_MAX]
    )


def reply_of(result: AttemptResult) -> events.Reply:
    reply, peer = result.reply, result.peer
    return events.Reply(
        code=reply.code if reply else 0,
        enhanced=reply.enhanced if reply else result.enhanced,
        text=reply.text if reply else clean_text(result.problem),
        step=result.step,
        mx=peer.mx,
        remote_ip=peer.remote_ip,
        local_ip=peer.local_ip,
        tls=peer.tls,
        tls_cipher=peer.cipher,
        tls_certificate=peer.certificate,
        tls_verified=peer.verified,
        tls_policy=policy_name(peer),
    )


def policy_name(peer: ReceivingServer) -> str:
    """What protected a message; empty without a connection."""
    if peer.policy or not peer.connected:
        return peer.policy
    return OPPORTUNISTIC if peer.tls else CLEAR_TEXT
