"""Parsers of ingest that read requests."""

import json
from datetime import UTC, datetime

import msgspec

from kernel import ids, times
from services.ingest.domain import attachments, email, pointers, schedule
from services.ingest.domain.problem import Problem
from services.ingest.domain.suppression_file import SuppressionFileReader, read_line
from services.ingest.domain.valid_email import validate

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def parse_field(**given: object) -> object:
    """Parse a field of an email."""
    whole = {"from": "a@x.example", "to": "b@x.example", "subject": "s", "text": "t", **given}
    try:
        return validate(msgspec.convert(whole, email.SendEmailRequest), NOW, test=True)
    except (Problem, msgspec.ValidationError) as error:
        raise ValueError(str(error)) from None


def as_json(text: str) -> msgspec.Raw:
    """The text as JSON in a body."""
    return msgspec.Raw(json.dumps(text).encode())


def body(text: str) -> object:
    try:
        return pointers.decode_body(email.decode_email, text.encode())
    except Problem as problem:
        raise ValueError(problem.detail) from None


def suppressions(text: str) -> object:
    """Parse a file, in two parts."""
    file, octets = SuppressionFileReader(), text.encode(errors="surrogatepass")
    middle = len(octets) // 2
    lines = [*file.feed(octets[:middle]), *file.feed(octets[middle:]), *file.close()]
    return [read_line(line, NOW) for line in lines]


READERS = {
    "suppressions": suppressions,
    "scheduled_at": lambda text: schedule.parse_time(text, NOW),
    "time": times.parse_time,
    "id": ids.canonical_uuid,
    "octets": lambda text: attachments.decode_content(as_json(text)),
    "body": body,
    "from": lambda text: parse_field(**{"from": text}),
    "to": lambda text: parse_field(to=text),
    "cc": lambda text: parse_field(cc=[text]),
    "reply_to": lambda text: parse_field(reply_to=text),
    "subject": lambda text: parse_field(subject=text),
    "html": lambda text: parse_field(html=text),
    "text": lambda text: parse_field(text=text),
    "header": lambda text: parse_field(headers={"X-A": text}),
    "header_name": lambda text: parse_field(headers={text: "a"}),
    "tag_name": lambda text: parse_field(tags=[{"name": text}]),
    "tag_value": lambda text: parse_field(tags=[{"name": "a", "value": text}]),
    "metadata": lambda text: parse_field(metadata={"a": text}),
    "metadata_name": lambda text: parse_field(metadata={text: "a"}),
    "filename": lambda text: parse_field(attachments=[{"filename": text, "content": as_json("")}]),
    "content": lambda text: parse_field(attachments=[{"filename": "a", "content": as_json(text)}]),
    "content_type": lambda text: parse_field(
        attachments=[{"filename": "a", "content": as_json(""), "content_type": text}]
    ),
    "content_id": lambda text: parse_field(
        attachments=[{"filename": "a", "content": as_json(""), "content_id": text}]
    ),
}
