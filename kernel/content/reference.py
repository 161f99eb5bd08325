"""What a reference names, and what a store answers to it."""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

from kernel import clock
from kernel.errors import Unavailable

CONTENT_STORE = "content store"
MARKER = "obm-content"
SEGMENT = re.compile(r"[a-z]+/(\d{4}-\d\d-\d\d)/[0-9a-f-]{36}")
REFERENCE = re.compile(rf"({SEGMENT.pattern}):(\d+):(\d+)")

logger = logging.getLogger(__name__)


class ContentNotFound(Exception):
    """No body at this reference, for good: it has expired, or there never was one."""


ReadResult: TypeAlias = bytes | ContentNotFound | Unavailable


@dataclass(frozen=True, slots=True)
class Body:
    """sealed: the bytes. retention_class: now or scheduled. expires_on: its last day."""

    sealed: bytes
    retention_class: str
    expires_on: date

    @property
    def prefix(self) -> str:
        return f"{self.retention_class}/{self.expires_on.isoformat()}"


@dataclass(frozen=True, slots=True)
class Reference:
    text: str
    path: str
    expires_on: date
    offset: int
    length: int

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Raises ContentNotFound for anything that this store has not made."""
        match = REFERENCE.fullmatch(text)
        if not match or (expires_on := parse_day(match[2])) is None:
            raise ContentNotFound(text[:100])
        return cls(text, match[1], expires_on, int(match[3]), int(match[4]))

    def absence_error(self) -> "ContentNotFound | Unavailable":
        """What it means that the store does not have it."""
        if self.expires_on < clock.now().date():
            return ContentNotFound(self.text)
        logger.warning("content.absent", extra={"reference": self.text})
        return Unavailable(CONTENT_STORE)


def any_unavailable(answers: Iterable[ReadResult]) -> bool:
    return any(isinstance(answer, Unavailable) for answer in answers)


def is_expired(prefix: str, today: date) -> bool:
    """Whether this is a prefix of ours (now/2026-01-31) whose day is over."""
    day = parse_day(prefix.rpartition("/")[2])
    return day is not None and day < today


def parse_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
