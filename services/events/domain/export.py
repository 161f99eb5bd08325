"""Exports: the lines of a file of events or emails."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from contracts.events.v1.events_service_pb2 import ExportFilter
from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.csv_rows import write_rows
from services.events.domain.catalog import event_data_of, event_type_of
from services.events.domain.log_event import LAST_EVENTS, StatusRank, is_scheduled
from services.events.domain.resource_data import format_time_ms, milliseconds_of
from services.events.domain.timeline import TimelineEntry
from services.events.domain.webhook_attempt import public_event_id

KEPT = timedelta(hours=24)  # after it is complete
SMTP = ("code", "enhanced_code", "response", "mx")
EVENT_COLUMNS = (
    "id", "type", "created_at", "tenant_id", "email_id", "message_id", "recipient", "from",
    "subject", "stream", "tags", "bounce_type", "bounce_class", *SMTP, "link", "reason",
)  # fmt: skip
EMAIL_COLUMNS = (
    "id", "created_at", "tenant_id", "from", "to", "subject", "last_event", "scheduled_at", "tags",
)  # fmt: skip

Row = Mapping[str, Any]
encode = msgspec.json.Encoder().encode


class ExportKind(StrEnum):
    EVENTS = "events"
    EMAILS = "emails"


class ExportFormat(StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"


class Export(NamedTuple):
    """tenant_id: empty for all tenants of the account. rows, octets, parts: of the file so far.
    truncated: there are more rows than a file may have. reached_at: everything from here on is in
    the file. failure: why it will never be complete; empty if it may."""

    id: str
    account_id: str
    tenant_id: str
    test: bool
    kind: ExportKind
    format: ExportFormat
    filter: ExportFilter
    created_at: datetime
    rows: int = 0
    octets: int = 0
    parts: int = 0
    truncated: bool = False
    reached_at: datetime | None = None
    failure: str = ""
    finished_at: datetime | None = None

    @property
    def status(self) -> str:
        if self.finished_at is not None:
            return "failed" if self.failure else "completed"
        return "queued" if self.reached_at is None else "running"

    @property
    def head(self) -> bytes:
        """What the file begins with."""
        columns = EVENT_COLUMNS if self.kind == ExportKind.EVENTS else EMAIL_COLUMNS
        return write_rows([columns]) if self.format == ExportFormat.CSV else b""

    def associated(self, part: int) -> bytes:
        """Binds a sealed part to its row."""
        return f"{self.id} {part}".encode()


def event_row(entry: TimelineEntry, accepted: MessageAccepted | None) -> dict[str, Any]:
    """As a search finds it. accepted: of its message, None if unknown."""
    event = entry.event
    return {
        "id": public_event_id(entry.position),
        "type": event_type_of(event, is_public=True),
        "message_id": event.subject_id,
        "recipient": event.recipient,
        "seq": entry.seq,
        "created_at": format_time(entry.at),
        "data": event_data_of(event, accepted, public_seq=entry.public_seq),
        "tenant_id": event.tenant_id,
    }


def email_row(
    email_id: str, tenant_id: str, *, rank: int, accepted: MessageAccepted | None
) -> dict[str, Any]:
    """As a list of emails has it. accepted: None if it is not in the log yet."""
    one = accepted if accepted is not None else MessageAccepted()
    context = one.context
    due = format_time_ms(milliseconds_of(context.due_at)) if is_scheduled(context) else None
    at = format_time_ms(milliseconds_of(context.accepted_at)) if accepted is not None else None
    return {
        "object": "email",
        "id": email_id,
        "tenant_id": tenant_id,
        "from": getattr(one, "from"),
        "to": list(one.to),
        "subject": one.subject,
        "created_at": at,
        "scheduled_at": due,
        "last_event": LAST_EVENTS[StatusRank(rank)],
        "tags": [{"name": name, "value": value} for name, value in sorted(one.tags.items())],
    }


def lines_of(rows: Iterable[Row], kind: ExportKind, form: ExportFormat) -> bytes:
    """In the format of a file."""
    if form == ExportFormat.NDJSON:
        return b"".join(b"%b\n" % encode(row) for row in rows)
    return write_rows(FIELDS[kind](row) for row in rows)


def event_fields(row: Row) -> list[str]:
    """In the order of EVENT_COLUMNS."""
    data = row["data"]
    bounce, smtp = data.get("bounce", {}), data.get("smtp", {})
    reasons = [data.get(name, {}).get("reason") for name in ("failed", "suppressed")]
    values = {
        **row,
        **{name: data.get(name) for name in ("email_id", "from", "subject", "stream")},
        **{name: smtp.get(name) or bounce.get(name) for name in SMTP},
        "tags": " ".join(f"{name}:{value}" for name, value in data.get("tags", {}).items()),
        "bounce_type": bounce.get("type"),
        "bounce_class": bounce.get("class"),
        "link": data.get("click", {}).get("link"),
        "reason": next(filter(None, reasons), None),
    }
    return [str(values[name] or "") for name in EVENT_COLUMNS]


def email_fields(row: Row) -> list[str]:
    """In the order of EMAIL_COLUMNS."""
    tags = " ".join(f"{one['name']}:{one['value']}" for one in row["tags"])
    values = {**row, "to": ", ".join(row["to"]), "tags": tags}
    return [str(values[name] or "") for name in EMAIL_COLUMNS]


FIELDS: dict[ExportKind, Callable[[Row], list[str]]] = {
    ExportKind.EVENTS: event_fields, ExportKind.EMAILS: email_fields,
}  # fmt: skip


def format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
