"""What ingest reads from its callers."""

import json
from datetime import UTC, datetime

import msgspec

from kernel import ids, times
from services.ingest.domain import attachments, email, pointers, schedule
from services.ingest.domain.problem import Problem
from services.ingest.domain.valid_email import validate

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def drafted(**given: object) -> object:
    """A field of an email."""
    whole = {"from": "a@x.example", "to": "b@x.example", "subject": "s", "text": "t", **given}
    try:
        return validate(msgspec.convert(whole, email.SendEmailRequest), NOW, test=True)
    except (Problem, msgspec.ValidationError) as error:
        raise ValueError(str(error)) from None


def raw(text: str) -> msgspec.Raw:
    """As it stands in a body."""
    return msgspec.Raw(json.dumps(text).encode())


def body(text: str) -> object:
    try:
        return pointers.decode_body(email.decode_email, text.encode())
    except Problem as problem:
        raise ValueError(problem.detail) from None


READERS = {
    "scheduled_at": lambda text: schedule.parse_time(text, NOW),
    "time": times.parse,
    "id": ids.canonical,
    "octets": lambda text: attachments.decode_content(raw(text)),
    "body": body,
    "from": lambda text: drafted(**{"from": text}),
    "to": lambda text: drafted(to=text),
    "cc": lambda text: drafted(cc=[text]),
    "reply_to": lambda text: drafted(reply_to=text),
    "subject": lambda text: drafted(subject=text),
    "html": lambda text: drafted(html=text),
    "text": lambda text: drafted(text=text),
    "header": lambda text: drafted(headers={"X-A": text}),
    "header_name": lambda text: drafted(headers={text: "a"}),
    "tag_name": lambda text: drafted(tags=[{"name": text}]),
    "tag_value": lambda text: drafted(tags=[{"name": "a", "value": text}]),
    "metadata": lambda text: drafted(metadata={"a": text}),
    "metadata_name": lambda text: drafted(metadata={text: "a"}),
    "filename": lambda text: drafted(attachments=[{"filename": text, "content": raw("")}]),
    "content": lambda text: drafted(attachments=[{"filename": "a", "content": raw(text)}]),
    "content_type": lambda text: drafted(
        attachments=[{"filename": "a", "content": raw(""), "content_type": text}]
    ),
    "content_id": lambda text: drafted(
        attachments=[{"filename": "a", "content": raw(""), "content_id": text}]
    ),
}
