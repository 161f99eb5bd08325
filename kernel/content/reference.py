"""References to bodies, and the results of reading them."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
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
    """The body has expired or never existed; this is final."""


ReadResult: TypeAlias = bytes | ContentNotFound | Unavailable


@dataclass(frozen=True, slots=True)
class SealedContent:
    """retention_class: now or scheduled. expires_on: the last day."""

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
        """Raises ContentNotFound for a text that is not a reference."""
        match = REFERENCE.fullmatch(text)
        if not match or (expires_on := parse_day(match[2])) is None:
            raise ContentNotFound(text[:100])
        return cls(text, match[1], expires_on, int(match[3]), int(match[4]))

    def result_of(self, data: bytes) -> ReadResult:
        """Of the octets that were read. A sealed body begins with a random nonce; zeros are what
        is left of an erased one."""
        if len(data) != self.length:
            return self.missing_content_error()
        return data if data.strip(b"\0") or not data else ContentNotFound(self.text)

    def missing_content_error(self) -> "ContentNotFound | Unavailable":
        """The error for a body that the store does not have."""
        if self.expires_on < clock.now().date():
            return ContentNotFound(self.text)
        logger.warning("content.absent", extra={"reference": self.text})
        return Unavailable(CONTENT_STORE)


def by_path(references: Iterable[str]) -> list[tuple[str, list[Reference]]]:
    """The bodies of each segment; texts that are no references are left out."""
    found: dict[str, list[Reference]] = defaultdict(list)
    for text in references:
        with suppress(ContentNotFound):
            reference = Reference.parse(text)
            found[reference.path].append(reference)
    return list(found.items())


def any_unavailable(results: Iterable[ReadResult]) -> bool:
    return any(isinstance(result, Unavailable) for result in results)


def is_expired(prefix: str, today: date) -> bool:
    """Whether this is a prefix of the store (now/2026-01-31) whose day has passed."""
    day = parse_day(prefix.rpartition("/")[2])
    return day is not None and day < today


def parse_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
