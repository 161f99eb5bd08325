"""Requests of the REST API with a complete message instead of its parts."""

import binascii
from datetime import datetime

from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType
from msgspec.json import Decoder

from mail import address
from services.ingest.domain.email import SendRawRequest
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.domain.raw_email import parse_raw_email
from services.ingest.domain.reserved import SpecialUseDomains
from services.ingest.domain.valid_email import (
    FIELDS,
    RECIPIENTS_MAX,
    ValidEmail,
    check_pairs,
    list_faults,
    list_of,
    parse_due_at,
    parse_mailboxes,
    reserved_faults,
    stream_of,
)


class _MaybeRaw(Struct):
    """Whether a body has the field, whatever else it has."""

    raw: Raw | UnsetType = UNSET


_decode_maybe = Decoder(_MaybeRaw).decode


def has_raw(body: bytes) -> bool:
    """Whether the request is meant to have a complete message."""
    try:
        return b'"raw"' in body and _decode_maybe(body).raw is not UNSET
    except (DecodeError, RecursionError):
        return False


def validate_raw(
    email: SendRawRequest,
    now: datetime,
    *,
    test: bool,
    domains: SpecialUseDomains = SpecialUseDomains(),  # noqa: B008 - immutable
) -> ValidEmail:
    """Raises Problem with all faults. Recipients are those of to, cc and bcc, or else those that
    the message itself names."""
    faults: list[Fault] = []
    given = {name: getattr(email, name) for name, _ in FIELDS}
    named = {name: parse_mailboxes(name, value, faults) for name, value in given.items() if value}
    envelope = [box for boxes in named.values() for box in boxes] if named else None
    tags = {tag.name: tag.value for tag in email.tags or ()}
    due_at = parse_due_at(email.scheduled_at, now, faults)
    faults += [*check_pairs("tags", tags), *check_pairs("metadata", email.metadata)]
    faults += list_faults(email)
    test = test or email.test
    valid = None
    try:
        valid = parse_raw_email(_decode(email.raw), envelope, test=test).valid
        faults += [] if faults else _recipient_faults(valid, domains)
    except Problem as problem:
        faults += problem.faults or (Fault("#/raw", problem.name, problem.detail),)
    if faults or valid is None:
        raise invalid(faults)
    return valid._replace(
        tags=tags,
        metadata=email.metadata or {},
        due_at=due_at,
        stream=stream_of(email),
        list=list_of(email),
        tls_enforced=email.tls == "enforced",
        track_opens=valid.track_opens if email.track_opens is None else email.track_opens,
        track_clicks=valid.track_clicks if email.track_clicks is None else email.track_clicks,
        tracking_mode=email.tracking_mode,
        list_unsubscribe=email.list_unsubscribe,
    )


def _recipient_faults(valid: ValidEmail, domains: SpecialUseDomains) -> list[Fault]:
    if not valid.recipients:
        return [Fault("#/to", "missing_required_field", "The message names no recipient.")]
    if len(valid.recipients) > RECIPIENTS_MAX * len(FIELDS):
        detail = f"The message has more than {RECIPIENTS_MAX * len(FIELDS)} recipients."
        return [Fault("#/to", "too_many_recipients", detail)]
    if valid.test:
        return []
    boxes = [address.parse_mailbox(one.address) for one in valid.recipients]
    return list(reserved_faults({"to": boxes}, domains))


def _decode(text: str) -> bytes:
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        fault = Fault("#/raw", "invalid", f"raw is not base64: {error}")
        raise invalid([fault]) from None
