"""Files of suppressions, sent to and read from the API with progress."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from cli.api import PART_BYTES, Api
from cli.printing import console, print_table
from kernel.errors import ConfigError

CSV = "text/csv"
STANDARD_OUTPUT = Path("-")
IMPORTS = "/suppressions/imports"
POLL_S = 0.5
SHOWN_MAX = 20  # failed lines


def progress_bar() -> Progress:
    """Only on a terminal."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def upload_file(api: Api, file: Path, tenant_id: str) -> dict[str, Any]:
    """Returns the import. tenant_id: empty for the whole account. Raises ConfigError."""
    with progress_bar() as bar, file.open("rb") as opened:
        task = bar.add_task("sending", total=os.fstat(opened.fileno()).st_size)

        def parts() -> Iterator[bytes]:
            while part := opened.read(PART_BYTES):
                yield part
                bar.advance(task, len(part))

        path = IMPORTS if tenant_id else f"{IMPORTS}?scope=account"
        return api.upload(path, parts(), CSV, tenant_id=tenant_id)


def wait_for_import(api: Api, created: dict[str, Any], tenant_id: str) -> dict[str, Any]:
    """Returns the completed import. Raises ConfigError."""
    with progress_bar() as bar:
        task = bar.add_task("adding", total=created["lines"])
        found = created
        while found["status"] != "completed":
            time.sleep(POLL_S)
            found = api.get(f"{IMPORTS}/{created['id']}", tenant_id=tenant_id)
            bar.update(task, completed=found["added"] + found["existing"] + found["failed"])
        return found


def print_outcome(api: Api, done: dict[str, Any], tenant_id: str, *, failed: Path | None) -> None:
    """failed: where to write the lines that were not added. Raises ConfigError."""
    if done["ignored_columns"]:
        console.print(f"ignored columns: {', '.join(done['ignored_columns'])}", markup=False)
    console.print(
        f"{done['added']:,} added, {done['existing']:,} were suppressed already, "
        f"{done['failed']:,} failed"
    )
    if not done["failed"]:
        return
    results = f"{IMPORTS}/{done['id']}/results"
    if failed is not None:
        write_file(failed, api.download(results, CSV, tenant_id=tenant_id))
        return
    found = api.get(results, tenant_id=tenant_id, limit=str(SHOWN_MAX))
    rows = ((str(one["line"]), one["email"], one["problem"]) for one in found["data"])
    print_table(("line", "email", "problem"), rows)
    if found["has_more"]:
        console.print("There are more: write them to a file with --failed.")


def download_export(api: Api, file: Path, tenant_id: str) -> int:
    """Write the export to a file. Returns the number of suppressions. Raises ConfigError."""
    parts = api.download("/suppressions/export", CSV, tenant_id=tenant_id)
    return max(write_file(file, parts) - 1, 0)


def write_file(file: Path, parts: Iterator[bytes]) -> int:
    """Returns the number of lines. An incomplete file is removed. Raises ConfigError."""
    lines = 0
    with opened_file(file) as opened:
        for part in parts:
            opened.write(part)
            lines += part.count(b"\n")
    return lines


@contextmanager
def opened_file(file: Path) -> Iterator[BinaryIO]:
    """Raises ConfigError."""
    if file == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        return
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as opened:
            yield opened
        part.replace(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
