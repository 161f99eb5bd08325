"""Classifies mail to the return path: delivery status RFC 3464 (in RFC 6522), bounces without one,
complaints RFC 5965 (ARF), and automatic replies RFC 3834.

Reports are untrusted: only the return path's token (verp) identifies the message they concern.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from mail import bounce, bounce_text, parser, verp
from mail.parser import Entity
from mail.smtp_reply import clean_text

MAX_RECIPIENTS = 100
MAX_OCTETS = 1 << 20  # octets examined: the report precedes the returned message

_CODES = re.compile(r"^[45]\d\d[ -](?:#?[45]\.\d{1,3}\.\d{1,3}\b ?)?")
_FILTER_WORDS = re.compile("user unknown|unknown user|unknown recipient")
Fields = tuple[tuple[str, bytes], ...]
_TOKEN_FIELD = verp.REPORT_FIELD.lower()


class ReportKind(StrEnum):
    """The kinds of mail to a return path."""

    BOUNCE = "bounce"
    DELAY = "delay"
    DELIVERED = "delivered"
    COMPLAINT = "complaint"
    AUTO_REPLY = "auto_reply"
    CHALLENGE = "challenge"  # the sender shall confirm its message
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class FailedRecipient:
    """One recipient in a report. `action` as in RFC 3464 §2.3.3; `code`: 0 if none is given.

    `command`: the SMTP command that was refused, in upper case; empty if unknown.
    """

    recipient: str
    action: str
    status: str
    code: int
    diagnostic: str
    remote_mta: str = ""
    command: str = ""

    @property
    def bounce_class(self) -> bounce.BounceClass:
        """The class of this failure.

        After end of data a filter may have refused an existing recipient with these words, so they
        suppress only if the report has 5.1.y, names the address, or says that RCPT was refused. If
        it does not say what was refused, all words count but those that filters use most.
        """
        text = _CODES.sub("", self.diagnostic)
        found = bounce.classify(self.code, self.status, text, command=self.command)
        if found.name != "invalid_recipient" or self.command == "RCPT" or self._is_specific:
            return found
        return bounce.class_by_name("recipient_filter")

    @property
    def _is_specific(self) -> bool:
        if self.status.startswith("5.1.") or self.status == "5.4.1":
            return True
        lowered = self.diagnostic.lower()
        if any(phrase in lowered for phrase in ("@", "unrouteable address", "not recognized")):
            return True
        return not self.command and not (self.code and _FILTER_WORDS.search(lowered))


@dataclass(frozen=True, slots=True)
class Complaint:
    """A feedback report (RFC 5965): `feedback_type` abuse, fraud, virus, not-spam, opt-out …"""

    feedback_type: str
    source_ip: str
    original_recipient: str
    original_mail_from: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class InboundReport:
    """A parsed report.

    `original_message_id` (without angle brackets), `original_return_path` and `original_token` (of
    a complaint) are from the header of the returned message; the latter two identify it if the
    report was not sent to the return path. A Message-ID that the sender chose can belong to several
    messages.
    """

    kind: ReportKind
    failures: tuple[FailedRecipient, ...] = ()
    complaint: Complaint | None = None
    original_message_id: str = ""
    original_return_path: str = ""
    reporting_mta: str = ""
    original_token: str = ""  # its verp.REPORT_FIELD
    original_envelope_id: str = ""  # the ENVID that we sent (RFC 3461), if the report repeats it


def parse_report(raw: bytes) -> InboundReport:
    """Classify a message to a return path. Never raises; unrecognized mail is OTHER."""
    return _parse(parser.parse_entity(raw[:MAX_OCTETS]), depth=0)


def _parse(entity: Entity, depth: int) -> InboundReport:
    inside = list(parser.walk(entity))
    kinds = {part.content_type[0]: part for part in reversed(inside)}
    feedback = kinds.get("message/feedback-report")
    if feedback is not None:
        return _complaint(feedback, inside)
    original = _original(inside)
    jmrp = _jmrp_complaint(original)
    if jmrp is not None:
        return jmrp
    found = _delivery_status(kinds, entity, inside, original=original)
    if found.failures:
        return found
    if (answer := _answer_kind(entity)) is not None:
        return InboundReport(answer, original_message_id=_id(entity, "in-reply-to"))
    found = _text_bounce(entity, inside)
    forwarded = kinds.get("message/rfc822")
    if forwarded is not None and depth < 2 and not any(f.code or f.status for f in found.failures):
        within = _parse(parser.parse_entity(forwarded.content().lstrip()), depth + 1)
        return within if within.failures else found
    return found


def _delivery_status(
    kinds: dict[str, Entity], entity: Entity, inside: list[Entity], *, original: Entity
) -> InboundReport:
    status = kinds.get("message/delivery-status") or kinds.get("message/global-delivery-status")
    # Some reporters break their own boundary, or write the fields into the text.
    content = status.content() if status is not None else _fields_in_text(entity, inside)
    groups = [
        fields
        for block in _groups(content)
        for fields in _split_by_recipient(parser.parse_entity(block).fields)
    ]
    explained = bounce_text.report_explanation(inside)
    recipient_groups = [group for group in groups[: MAX_RECIPIENTS + 1] if _names_recipient(group)]
    recipients = [_recipient(dict(reversed(group))) for group in recipient_groups]
    failures = [
        _failure(dict(reversed(group)), explained, recipients) for group in recipient_groups
    ]
    about = dict(groups[0]) if groups else {}
    return InboundReport(
        _kind_of(failures),
        tuple(failures[:MAX_RECIPIENTS]),
        original_message_id=_id(original, "message-id"),
        original_return_path=_id(original, "return-path"),
        reporting_mta=_without_type(about.get("reporting-mta", b"")),
        original_envelope_id=clean_text(
            parser.text_of(about.get("original-envelope-id", b""))
        ).strip(),
    )


def _fields_in_text(entity: Entity, inside: list[Entity]) -> bytes:
    if b"inal-" not in entity.body[:65536]:
        return b""
    texts = [part.content()[:65536] for part in inside if part.content_type[0] == "text/plain"]
    for content in (*texts, entity.body[:65536]):
        if _FINAL.search(content) and _ACTION.search(content):
            return b"\n\n".join(block for block in _groups(content) if _ACTION.search(block))
    return b""


_FINAL = re.compile(rb"(?im)^(?:final|original)-recipient:")
_ACTION = re.compile(rb"(?im)^action:")


def _names_recipient(group: Fields) -> bool:
    return any(name in ("final-recipient", "original-recipient", "action") for name, _ in group)


def _groups(content: bytes) -> list[bytes]:
    return [block for block in re.split(rb"(?:\r?\n[ \t]*){2,}", content.strip()) if block.strip()]


def _recipient(group: dict[str, bytes]) -> str:
    return _without_type(
        group.get("final-recipient") or group.get("original-recipient", b"")
    ).strip("<>")


def _split_by_recipient(fields: Fields) -> list[Fields]:
    """One group per recipient, even if a reporter omits the empty line between two."""
    starts = [i for i, (name, _) in enumerate(fields) if name == "final-recipient"]
    if len(starts) < 2:
        return [fields]
    stops = [*starts[1:], len(fields)]
    return [fields[: starts[0]], *(fields[a:b] for a, b in zip(starts, stops, strict=True))]


def _failure(group: dict[str, bytes], explained: str, recipients: list[str]) -> FailedRecipient:
    recipient = _recipient(group)
    status = _status(parser.text_of(group.get("status", b"")))
    diagnostic = _without_type(group.get("diagnostic-code", b"")) or _supplementary(group)
    action = parser.text_of(group.get("action", b"")).partition(" ")[0].strip(" ;").lower()
    alone = len(recipients) == 1
    own_text = (
        explained if alone else bounce_text.text_about_recipient(explained, recipient, recipients)
    )
    code, enhanced, reply_text = bounce_text.split_codes(
        diagnostic or own_text, whole=not diagnostic
    )
    if status.endswith(".0.0") or not status:
        status = enhanced or status
    return FailedRecipient(
        recipient,
        action or ("delayed" if status.startswith("4") else "failed"),
        status,
        code,
        clean_text(reply_text),
        _without_type(group.get("remote-mta", b"")),
        bounce_text.refused_command(diagnostic) or bounce_text.refused_command(explained),
    )


def _without_type(value: bytes) -> str:
    """The part after the type of an RFC 3464 field: `rfc822; a@b` gives `a@b`."""
    text = parser.text_of(value)
    kind, semicolon, rest = text.partition(";")
    return (rest if semicolon and " " not in kind.strip() else text).strip()


def _supplementary(group: dict[str, bytes]) -> str:
    """Exchange's own field, as in `< #5.1.1 smtp;550 5.1.1 User unknown>`."""
    text = parser.text_of(group.get("x-supplementary-info", b"")).strip("<> ")
    info = text.partition(";")[2]
    return (info or text).strip()


_STATUS = re.compile(r"\b[245]\.\d{1,3}\.\d{1,3}\b")


def _status(text: str) -> str:
    match = _STATUS.search(text)
    return match[0] if match else ""


_SUCCESS_ACTIONS = frozenset(
    ("delivered", "relayed", "expanded", "deliverable")
)  # the last is Postfix's


def _kind_of(failures: list[FailedRecipient]) -> ReportKind:
    actions = {failure.action for failure in failures}
    if "failed" in actions:
        return ReportKind.BOUNCE
    if "delayed" in actions:
        return ReportKind.DELAY
    return ReportKind.DELIVERED if actions & _SUCCESS_ACTIONS else ReportKind.BOUNCE


def _complaint(feedback: Entity, inside: list[Entity]) -> InboundReport:
    given = dict(reversed(parser.parse_entity(feedback.content()).fields))

    def field(name: str) -> str:
        return clean_text(parser.text_of(given.get(name, b"")))

    original = _original(inside)
    return InboundReport(
        ReportKind.COMPLAINT,
        complaint=Complaint(
            field("feedback-type").lower() or "other",
            field("source-ip"),
            field("original-rcpt-to").strip("<>"),
            field("original-mail-from").strip("<>"),
            field("user-agent"),
        ),
        original_message_id=_id(original, "message-id"),
        original_return_path=_id(original, "return-path"),
        original_token=_id(original, _TOKEN_FIELD),
        reporting_mta=_without_type(given.get("reporting-mta", b"")),
    )


def _jmrp_complaint(original: Entity) -> InboundReport | None:
    """Microsoft's junk mail report (JMRP): no feedback part, but the recipient in the returned
    header."""
    recipient = _id(original, "x-hmxmroriginalrecipient")
    if not recipient:
        return None
    return InboundReport(
        ReportKind.COMPLAINT,
        complaint=Complaint("abuse", "", recipient, _id(original, "return-path"), "JMRP"),
        original_message_id=_id(original, "message-id"),
        original_return_path=_id(original, "return-path"),
        original_token=_id(original, _TOKEN_FIELD),
    )


_RETURNED = ("message/rfc822", "text/rfc822-headers", "message/global", "message/rfc822-headers")


def _original(inside: list[Entity]) -> Entity:
    """The header of the returned message; empty if there is none."""
    for part in inside:
        if part.content_type[0] in _RETURNED:
            found = parser.parse_entity(part.content().lstrip())
            if found.fields:
                return found
    return Entity((), b"")


def _id(entity: Entity, name: str) -> str:
    return clean_text(entity.get(name)).strip("<> ")


def _answer_kind(entity: Entity) -> ReportKind | None:
    """That of an answer by a program on behalf of the recipient."""
    if bounce_text.is_challenge(entity):
        return ReportKind.CHALLENGE
    return ReportKind.AUTO_REPLY if _is_auto_reply(entity) else None


def _is_auto_reply(entity: Entity) -> bool:
    """Whether it is an automatic reply, by RFC 3834 §5 or by older headers."""
    automatic = entity.get("auto-submitted").partition(";")[0].strip().lower()
    if automatic in ("auto-replied", "auto-notified") or entity.get("x-autoreply"):
        return not bounce_text.looks_like_bounce(entity)
    if automatic == "auto-generated" and (entity.get("in-reply-to") or entity.get("references")):
        return not bounce_text.looks_like_bounce(entity)  # Exchange uses it for replies
    if entity.get("precedence").strip().lower() == "auto_reply" or entity.get("x-autorespond"):
        return True
    return bool(bounce_text.AUTO_SUBJECT.match(entity.get("subject")))


def _text_bounce(entity: Entity, inside: list[Entity]) -> InboundReport:
    """A bounce without a machine-readable part, by its text."""
    if not bounce_text.looks_like_bounce(entity):
        return InboundReport(ReportKind.OTHER)
    failures = tuple(
        FailedRecipient(recipient, "failed", enhanced, code, clean_text(reply_text), "", command)
        for recipient, (code, enhanced, reply_text), command in bounce_text.failed_recipients(
            entity, inside
        )[:MAX_RECIPIENTS]
    )
    if bounce_text.has_null_sender_only(entity):
        failures = tuple(one for one in failures if _is_evident(one))
    kind = ReportKind.BOUNCE if failures else ReportKind.OTHER
    original = _original(inside)
    return InboundReport(
        kind,
        failures,
        original_message_id=_id(original, "message-id"),
        original_return_path=_id(original, "return-path"),
    )


def _is_evident(failure: FailedRecipient) -> bool:
    """Whether a text says that it is a refusal."""
    known = failure.bounce_class.name not in ("uncategorized", "auto_reply")
    return known or bool(failure.code or failure.status)
