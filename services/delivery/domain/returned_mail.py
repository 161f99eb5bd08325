"""Mail that came back to a return path or a feedback address: what it reports (RFC 3464, 5965).

A child process reads it, because it comes from strangers. The child has no keys: it returns the
tokens that it finds, unverified.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from contracts.delivery.v1 import events_pb2 as events
from kernel.redaction import ERASED
from mail import bounce, forwarding, inbound_report, verp
from mail.forwarding import Trace
from mail.inbound_report import FailedRecipient, InboundReport, ReportKind
from mail.smtp_reply import clean_text

ADDRESS_MAX = 320
NAME_MAX = 255  # characters of a host, of a reporter
STATUS_MAX = 16
# The types of a feedback report (RFC 5965 §7.3) that are complaints; an unknown one is "other".
# Authentication failures (RFC 6591) and not-spam say nothing against the message.
COMPLAINTS = frozenset(("abuse", "fraud", "virus", "opt-out", "other"))
NO_COMPLAINTS = frozenset(("not-spam", "auth-failure", "dmarc"))
OTHER_COMPLAINT = "other"
# Of a bounce that says nothing about our recipient, which a list or an alias has replaced.
FORWARDED = bounce.class_by_name("routing_errors").name


class BounceReason(msgspec.Struct, frozen=True):
    """Why a message bounced. recipient: that the report names, perhaps another one than ours. mx:
    the server that refused it. step: as in `Reply`."""

    recipient: str
    bounce_class: str
    code: int
    enhanced: str
    text: str
    step: str
    mx: str


class ReturnedMail(msgspec.Struct, frozen=True):
    """kind: a ReportKind. refusal: of a bounce. feedback_type: of a complaint, one of COMPLAINTS;
    reporter: who sent it; tokens: of the message that it is about, unverified. trace: None if the
    mail could not be read."""

    kind: str
    refusal: BounceReason | None = None
    feedback_type: str = ""
    reporter: str = ""
    tokens: tuple[str, ...] = ()
    trace: Trace | None = None

    @property
    def is_report(self) -> bool:
        """Whether it says something about a message that has an effect."""
        return self.refusal is not None or bool(self.feedback_type)

    @property
    def is_feedback(self) -> bool:
        """Whether a feedback loop sends it."""
        return self.kind == ReportKind.COMPLAINT or self.kind in NO_COMPLAINTS

    @property
    def report(self) -> str:
        """Its name in the journal: each is counted once per message. Complaints of all types are
        one, or whoever has a message could complain about it five times."""
        return "complaint" if self.feedback_type else "bounce"


class SentMessage(NamedTuple):
    """The message that a report is about."""

    message_id: str
    tenant_id: str
    email_id: str
    recipient: str
    test: bool


UNREADABLE = ReturnedMail("unreadable")


def create_reader(_: bytes) -> Callable[[Iterable[bytes]], list[bytes]]:
    """The work of the child process: see `kernel.child`."""
    return lambda mail: [msgspec.msgpack.encode(read(raw)) for raw in mail]


def decode(result: bytes) -> ReturnedMail:
    """Raises msgspec.ValidationError or DecodeError."""
    return msgspec.msgpack.decode(result, type=ReturnedMail)


def read(raw: bytes) -> ReturnedMail:
    """Never raises; what is not recognized is of the kind "other"."""
    return msgspec.structs.replace(_report(raw), trace=forwarding.trace_of(raw))


def _report(raw: bytes) -> ReturnedMail:
    found = inbound_report.parse_report(raw)
    if found.kind is ReportKind.BOUNCE:
        return ReturnedMail(found.kind, refusal=_refusal(found))
    if found.kind is ReportKind.COMPLAINT and found.complaint is not None:
        given = found.complaint.feedback_type
        if given in NO_COMPLAINTS:
            return ReturnedMail(given)
        return ReturnedMail(
            found.kind,
            feedback_type=given if given in COMPLAINTS else OTHER_COMPLAINT,
            reporter=clean_text(found.complaint.user_agent)[:NAME_MAX],
            tokens=_tokens(found, found.complaint.original_mail_from),
        )
    return ReturnedMail(found.kind)


def _refusal(report: InboundReport) -> BounceReason | None:
    """That of the first recipient that failed: our messages have one each."""
    failed = [one for one in report.failures if one.action == "failed"] or [*report.failures]
    return _refusal_of(failed[0]) if failed else None


def _refusal_of(failure: FailedRecipient) -> BounceReason:
    return BounceReason(
        clean_text(failure.recipient)[:ADDRESS_MAX],
        failure.bounce_class.name,
        failure.code,
        failure.status[:STATUS_MAX],
        clean_text(failure.diagnostic),
        failure.command.lower(),
        clean_text(failure.remote_mta)[:NAME_MAX],
    )


def _tokens(report: InboundReport, original_mail_from: str) -> tuple[str, ...]:
    paths = (original_mail_from, report.original_return_path)
    found = (report.original_token, *map(verp.token_of, paths))
    return tuple(dict.fromkeys(one for one in found if verp.is_token(one)))


def event_of(
    mail: ReturnedMail, message: SentMessage, *, at_ms: int
) -> events.BounceReceived | events.ComplaintReceived:
    """mail: a report."""
    event: events.BounceReceived | events.ComplaintReceived
    if mail.refusal is None:
        event = events.ComplaintReceived(feedback_type=mail.feedback_type, source=mail.reporter)
    else:
        event = _bounce(mail.refusal, message.recipient)
        if message.recipient == ERASED:  # the text may name who it was
            event.reply.text = ERASED
    event.message_id, event.tenant_id = message.message_id, message.tenant_id
    event.email_id, event.recipient = message.email_id, message.recipient
    event.test = message.test
    event.received_at.FromMilliseconds(at_ms)
    return event


def _bounce(refusal: BounceReason, recipient: str) -> events.BounceReceived:
    reply = events.Reply(
        code=refusal.code, enhanced=refusal.enhanced, text=refusal.text, step=refusal.step,
        mx=refusal.mx,
    )  # fmt: skip
    return events.BounceReceived(reply=reply, bounce_class=_bounce_class(refusal, recipient))


def _bounce_class(refusal: BounceReason, recipient: str) -> str:
    """That another address does not exist must not suppress ours: one member of a list is gone.
    Nobody can say whether it is another one than that of an erased recipient."""
    named = refusal.recipient.lower()
    is_ours = "@" not in named or recipient == ERASED or named == recipient.lower()
    suppresses = bounce.class_by_name(refusal.bounce_class).suppress_after
    return FORWARDED if suppresses and not is_ours else refusal.bounce_class
