"""A valid email: every field of a request, checked and normalized."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from contracts.ingest.v1.content_pb2 import Attachment as StoredAttachment
from contracts.ingest.v1.content_pb2 import Content, Header
from contracts.ingest.v1.events_pb2 import RecipientType
from mail import address, headers, unsubscribe
from mail.address import AddressError, Mailbox
from mail.headers import HeaderError
from services.ingest.domain.attachments import FETCH_DISABLED, FetchPolicy, decode_attachments
from services.ingest.domain.email import (
    Addresses,
    Attachment,
    ListUnsubscribe,
    SendEmailRequest,
    SendRawRequest,
    TrackingMode,
)
from services.ingest.domain.problem import Fault, invalid
from services.ingest.domain.reserved import SpecialUseDomains
from services.ingest.domain.schedule import InvalidTime, parse_time

RECIPIENTS_MAX = 50  # per field
ATTACHMENTS_MAX = 100
HEADERS_MAX = 100
HEADER_CHARS_MAX = 8_000
PAIRS_MAX = 75  # for tags and metadata each
PAIRS_OCTETS_MAX = 8_000  # an event has at most 64 KiB
FIELDS = (
    ("to", RecipientType.RECIPIENT_TYPE_TO),
    ("cc", RecipientType.RECIPIENT_TYPE_CC),
    ("bcc", RecipientType.RECIPIENT_TYPE_BCC),
)


class Recipient(NamedTuple):
    """address: canonical, local@domain."""

    address: str
    type: int


class ValidEmail(NamedTuple):
    """due_at: None for now. content: without email_id and date_s, which acceptance sets, and
    without the octets of attachments that must be fetched, which `to_fetch` lists by index.
    on_behalf: the field Sender, in a message that was submitted as a whole. tls_enforced: send it
    only to servers with TLS and a valid certificate. track_opens, track_clicks, tracking_mode: None
    for what the domain says. list: that it is sent to; empty for none. own_message_id: the
    Message-ID that the sender chose; empty for none."""

    sender: Mailbox
    recipients: tuple[Recipient, ...]
    content: Content
    tags: Mapping[str, str]
    metadata: Mapping[str, str]
    due_at: datetime | None
    stream: str
    test: bool
    to_fetch: Mapping[int, Attachment] = MappingProxyType({})
    on_behalf: Mailbox | None = None
    tls_enforced: bool = False
    track_opens: bool | None = None
    track_clicks: bool | None = None
    tracking_mode: TrackingMode | None = None
    list_unsubscribe: ListUnsubscribe | None = None
    list: str = ""
    own_message_id: str = ""


def validate(
    email: SendEmailRequest,
    now: datetime,
    *,
    test: bool,
    domains: SpecialUseDomains = SpecialUseDomains(),  # noqa: B008 - immutable
    fetch_policy: FetchPolicy = FETCH_DISABLED,
) -> ValidEmail:
    """Raises Problem with all faults. test: send to the sandbox only."""
    faults: list[Fault] = []
    named = {name: parse_mailboxes(name, getattr(email, name), faults) for name, _ in FIELDS}
    reply_to = parse_mailboxes("reply_to", email.reply_to, faults)
    sender = _sender(email.from_, faults)
    if not (test or email.test):
        faults += reserved_faults(named, domains)
    content = _content(email, named, faults, reply_to=reply_to, fetch_policy=fetch_policy)
    tags = {tag.name: tag.value for tag in email.tags} if email.tags else {}
    due_at = parse_due_at(email.scheduled_at, now, faults)
    faults += [*check_pairs("tags", tags), *check_pairs("metadata", email.metadata)]
    faults += [*list_faults(email), *_body(email)]
    if faults or sender is None:
        raise invalid(faults)
    setattr(content, "from", sender.display)
    return ValidEmail(
        sender=sender.mailbox,
        recipients=_recipients(named),
        content=content,
        tags=tags,
        metadata=email.metadata or {},
        due_at=due_at,
        stream=stream_of(email),
        list=list_of(email),
        test=test or email.test,
        tls_enforced=email.tls == "enforced",
        track_opens=email.track_opens,
        track_clicks=email.track_clicks,
        tracking_mode=email.tracking_mode,
        list_unsubscribe=email.list_unsubscribe,
        own_message_id=_own_message_id(content.headers),
        to_fetch={i: one for i, one in enumerate(email.attachments or ()) if one.path is not None},
    )


def _own_message_id(headers: Iterable[Header]) -> str:
    return next((one.value for one in headers if one.name.lower() == "message-id"), "")


def list_of(email: SendEmailRequest | SendRawRequest) -> str:
    return email.list_ or email.topic_id or ""


def stream_of(email: SendEmailRequest | SendRawRequest) -> str:
    """Mail to a list is broadcast."""
    return email.stream or ("broadcast" if list_of(email) else "transactional")


def list_faults(email: SendEmailRequest | SendRawRequest) -> Iterable[Fault]:
    if email.list_ and email.topic_id and email.list_ != email.topic_id:
        yield Fault("#/topic_id", "invalid", "list and topic_id differ. Use one of them.")
    if stream_of(email) == "transactional":
        yield from _transactional_faults(email)


def _transactional_faults(email: SendEmailRequest | SendRawRequest) -> Iterator[Fault]:
    """Transactional mail ignores who has unsubscribed, so the engine's link would have no effect on
    it (RFC 8058 §3.2)."""
    if list_of(email):
        name = "list" if email.list_ else "topic_id"
        detail = f'Mail with {name} is broadcast. Send stream "broadcast", or no {name}.'
        yield Fault(f"#/{name}", "invalid", detail)
    elif email.list_unsubscribe is not None and email.list_unsubscribe.url is None:
        detail = (
            "Transactional mail ignores who has unsubscribed. Send list_unsubscribe with a url of "
            'your own, or stream "broadcast", or a list.'
        )
        yield Fault("#/list_unsubscribe", "invalid", detail)


def _content(
    email: SendEmailRequest,
    named: Mapping[str, list[Mailbox]],
    faults: list[Fault],
    *,
    reply_to: list[Mailbox],
    fetch_policy: FetchPolicy,
) -> Content:
    return Content(
        to=[address.format_for_display(box) for box in named["to"]],
        cc=[address.format_for_display(box) for box in named["cc"]],
        reply_to=[address.format_for_display(box) for box in reply_to],
        subject=email.subject,
        html=email.html or "",
        text=email.text,
        headers=_headers(email.headers, faults) if email.headers else (),
        attachments=_attachments(email, faults, fetch_policy) if email.attachments else (),
    )


@dataclass(frozen=True, slots=True)
class FromAddress:
    """mailbox: canonical. display: in readable form."""

    mailbox: Mailbox
    display: str


@lru_cache(maxsize=10_000)  # tenants send from few addresses
def parse_from(given: str) -> FromAddress:
    """Raises AddressError."""
    box = address.parse_mailbox(given)
    return FromAddress(address.canonical(box), address.format_for_display(box))


def _sender(given: str, faults: list[Fault]) -> FromAddress | None:
    try:
        return parse_from(given)
    except AddressError as error:
        faults.append(Fault("#/from", "invalid_address", f"Invalid from: {error}"))
        return None


def parse_mailboxes(name: str, given: Addresses | None, faults: list[Fault]) -> list[Mailbox]:
    if not given:
        if name == "to":
            faults.append(Fault("#/to", "missing_required_field", "The field to is empty."))
        return []
    single = isinstance(given, str)
    texts = [given] if isinstance(given, str) else given
    if len(texts) > RECIPIENTS_MAX:
        detail = f"{name} has more than {RECIPIENTS_MAX} addresses. Send several emails."
        faults.append(Fault(f"#/{name}", "too_many_recipients", detail))
        return []
    found = []
    for index, text in enumerate(texts):
        try:
            found.append(address.parse_mailbox(text))
        except AddressError as error:
            at, label = (f"#/{name}", name) if single else (f"#/{name}/{index}", f"{name}[{index}]")
            detail = f"Invalid address in {label}: {error}"
            faults.append(Fault(at, "invalid_address", detail))
    return found


def _recipients(named: Mapping[str, list[Mailbox]]) -> tuple[Recipient, ...]:
    """One per address, with the type of the first field that contains it."""
    found: dict[str, Recipient] = {}
    for name, kind in FIELDS:
        for mailbox in named[name]:
            canonical = address.canonical(mailbox).address
            found.setdefault(canonical, Recipient(canonical, kind))
    return tuple(found.values())


def reserved_faults(
    named: Mapping[str, Iterable[Mailbox]], domains: SpecialUseDomains
) -> Iterator[Fault]:
    """Faults of recipients of live mail, by field."""
    for name, boxes in named.items():
        for box in boxes:
            if domains.is_refused(box.domain):
                detail = (
                    f"{name}: {box.domain} is a reserved domain that cannot receive mail. Use "
                    "a test key to test."
                )
                yield Fault(f"#/{name}", "reserved_domain", detail)
            elif domains.is_sandbox(box.domain):
                detail = f"{name}: {box.domain} accepts test mail only. Use a test key."
                yield Fault(f"#/{name}", "sandbox_domain", detail)


def _headers(given: Mapping[str, str], faults: list[Fault]) -> Iterator[Header]:
    if len(given) > HEADERS_MAX:
        faults.append(
            Fault("#/headers", "too_many_headers", f"headers has more than {HEADERS_MAX} fields.")
        )
        return
    try:
        headers.check_distinct(given)
    except HeaderError as error:
        faults.append(Fault("#/headers", "invalid_header", str(error)))
    for name, value in given.items():
        try:
            if len(value) > HEADER_CHARS_MAX:
                label = name[:80]
                raise HeaderError(
                    f"The header {label} has more than {HEADER_CHARS_MAX} characters."
                )
            headers.custom_field(name, value)
        except HeaderError as error:
            faults.append(Fault(f"#/headers/{name[:80]}", "invalid_header", str(error)))
        else:
            yield Header(name=name, value=value)


def _attachments(
    email: SendEmailRequest, faults: list[Fault], fetch_policy: FetchPolicy
) -> list[StoredAttachment]:
    given = email.attachments or ()
    if len(given) > ATTACHMENTS_MAX:
        detail = f"The email has more than {ATTACHMENTS_MAX} attachments."
        faults.append(Fault("#/attachments", "too_many_attachments", detail))
        return []
    return list(decode_attachments(given, faults, fetch_policy))


def parse_due_at(text: str | None, now: datetime, faults: list[Fault]) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_time(text, now)
    except InvalidTime as error:
        faults.append(Fault("#/scheduled_at", "invalid_time", str(error)))
        return None


def check_pairs(name: str, pairs: Mapping[str, str] | None) -> Iterable[Fault]:
    return _pair_faults(name, pairs) if pairs else ()


def _pair_faults(name: str, pairs: Mapping[str, str]) -> Iterator[Fault]:
    octets = sum(len(text.encode("utf-8", "replace")) for pair in pairs.items() for text in pair)
    if len(pairs) > PAIRS_MAX or octets > PAIRS_OCTETS_MAX:
        detail = f"{name} has more than {PAIRS_MAX} entries or {PAIRS_OCTETS_MAX} octets."
        yield Fault(f"#/{name}", "too_long", detail)
    if "" in pairs:
        yield Fault(f"#/{name}", "invalid", f"{name} has an entry without a name.")


def _unsubscribe_headers(names: Iterable[str]) -> Iterator[Fault]:
    if any(map(unsubscribe.is_field, names)):
        detail = f"Send either list_unsubscribe or {unsubscribe.FIELD} in headers, not both."
        yield Fault("#/list_unsubscribe", "invalid", detail)


def _body(email: SendEmailRequest) -> list[Fault]:
    found = []
    if not (email.html or email.text):
        detail = "The fields html and text are missing. Send at least one of them."
        found.append(Fault("#/text", "missing_required_field", detail))
    for name, text in (("subject", email.subject), ("html", email.html), ("text", email.text)):
        if text and not text.isascii() and _has_surrogate(text):
            detail = f"{name} has a lone surrogate. Send valid Unicode."
            found.append(Fault(f"#/{name}", "invalid", detail))
    subject = email.subject
    if "\r" in subject or "\n" in subject or "\0" in subject:
        detail = "subject has a line break or NUL. Remove it."
        found.append(Fault("#/subject", "invalid_header", detail))
    if email.list_unsubscribe is not None and email.headers:
        found += _unsubscribe_headers(email.headers)
    return found


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
