"""The lines of exports."""

import csv
import io
import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from contracts.events.v1.events_service_pb2 import ExportFilter
from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.csv_rows import FORMULA, unguarded
from services.events.domain.export import (
    EMAIL_COLUMNS,
    Export,
    ExportFormat,
    ExportKind,
    email_row,
    lines_of,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
ID = "01890000-0000-7000-8000-000000000000"
NEW = Export(
    ID, ID, "", False, ExportKind.EMAILS, ExportFormat.CSV, ExportFilter(),
    datetime(2026, 11, 29, tzinfo=UTC),
)  # fmt: skip


@given(st.lists(TEXT, max_size=5))
def test_any_subject_is_read_back_and_is_no_formula(subjects: list[str]) -> None:
    rows = [email_row(ID, ID, rank=6, accepted=MessageAccepted(subject=one)) for one in subjects]
    content = NEW.head + lines_of(rows, ExportKind.EMAILS, ExportFormat.CSV)
    head, *found = csv.reader(io.StringIO(content.decode(), newline=""))
    assert head == [*EMAIL_COLUMNS]
    cells = [row[EMAIL_COLUMNS.index("subject")] for row in found]
    assert list(map(unguarded, cells)) == subjects
    assert not any(cell.startswith(FORMULA[:-1]) for cell in cells)
    lines = lines_of(rows, ExportKind.EMAILS, ExportFormat.NDJSON).split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line)["subject"] for line in lines] == subjects


def test_an_export_is_complete_only_when_it_has_not_failed() -> None:
    moment = NEW.created_at
    assert NEW.status == "queued"
    assert NEW._replace(reached_at=moment).status == "running"
    assert NEW._replace(finished_at=moment).status == "completed"
    assert NEW._replace(finished_at=moment, failure="why").status == "failed"
