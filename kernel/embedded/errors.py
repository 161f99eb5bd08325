"""Errors of the embedded stack, each one line that says what to do."""

from pathlib import Path

from kernel.errors import EmbeddedError

DISK_FULL = ("No space left on device", "could not extend file", "Disk quota exceeded")
PORT_TAKEN = ("Address already in use", "could not bind")


def port_taken_error(name: str, port: int) -> EmbeddedError:
    return EmbeddedError(
        f"{name} cannot listen on 127.0.0.1:{port}: the port is taken. "
        "Stop the program that uses it, or choose another port (0 chooses a free one)."
    )


def disk_full_error(folder: Path) -> EmbeddedError:
    return EmbeddedError(f"No space left for {folder}. Free some, or choose another data folder.")


def explain_exit(name: str, port: int, log: Path, *, since: int = 0) -> EmbeddedError:
    """Why a server ended, from its log after the offset `since`."""
    text = read_from(log, since)
    if any(sign in text for sign in DISK_FULL):
        return disk_full_error(log.parent)
    if any(sign in text for sign in PORT_TAKEN):
        return port_taken_error(name, port)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "FATAL" in line or "ERROR" in line or "Exception" in line]
    last = (errors or lines or ["it wrote nothing"])[-1 if not errors else 0]
    return EmbeddedError(f"{name} did not start: {last[:300]} (more in {log})")


def read_from(log: Path, offset: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(offset)
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
