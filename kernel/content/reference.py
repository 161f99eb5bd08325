"""What a reference names, and what a store answers to it."""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

from kernel import clock
from kernel.errors import Unavailable

AWAY = "content store"
MARKER = "obm-content"
SEGMENT = re.compile(r"[a-z]+/(\d{4}-\d\d-\d\d)/[0-9a-f-]{36}")
REFERENCE = re.compile(rf"({SEGMENT.pattern}):(\d+):(\d+)")

logger = logging.getLogger(__name__)


class Missing(Exception):
    """No body at this reference, for good: it has expired, or there never was one."""


Found: TypeAlias = bytes | Missing | Unavailable


@dataclass(frozen=True, slots=True)
class Body:
    """sealed: the bytes. kept: the class of mail (now, scheduled). until: its last day."""

    sealed: bytes
    kept: str
    until: date

    @property
    def prefix(self) -> str:
        return f"{self.kept}/{self.until.isoformat()}"


@dataclass(frozen=True, slots=True)
class Reference:
    text: str
    path: str
    until: date
    offset: int
    length: int

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Raises Missing for anything that this store has not made."""
        match = REFERENCE.fullmatch(text)
        if not match or (until := day_named(match[2])) is None:
            raise Missing(text[:100])
        return cls(text, match[1], until, int(match[3]), int(match[4]))

    def absent(self) -> "Missing | Unavailable":
        """What it means that the store does not have it."""
        if self.until < clock.now().date():
            return Missing(self.text)
        logger.warning("content.absent", extra={"reference": self.text})
        return Unavailable(AWAY)


def any_unavailable(answers: Iterable[Found]) -> bool:
    return any(isinstance(answer, Unavailable) for answer in answers)


def passed(prefix: str, today: date) -> bool:
    """Whether this is a prefix of ours (now/2026-01-31) whose day is over."""
    day = day_named(prefix.rpartition("/")[2])
    return day is not None and day < today


def day_named(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
