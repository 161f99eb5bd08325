"""Lines of CSV (RFC 4180), which keep spreadsheets from running what a stranger has written."""

import csv
import io
from collections.abc import Iterable, Sequence

# A spreadsheet runs a field that begins with one of these as a formula. An apostrophe before it
# prevents that; a field that begins with an apostrophe gets one too, so that it can be read back.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def write_rows(rows: Iterable[Sequence[str]]) -> bytes:
    """Lines of a file. Fields are kept from being formulas."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerows(map(guarded, row) for row in rows)
    return written.getvalue().encode()


def guarded(field: str) -> str:
    return f"'{field}" if field.startswith(FORMULA) else field


def unguarded(field: str) -> str:
    return field[1:] if field.startswith("'") and field[1:].startswith(FORMULA) else field
