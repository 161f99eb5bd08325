"""The filter of a search in the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from kernel.ids import MAX, NIL, canonical_uuid, lower_bound_at


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What is not empty must match. types: numbers, of which one must match. after: a position from
    which the search goes on to older events."""

    types: Sequence[int] = ()
    to: str = ""
    domain: str = ""
    tag: str = ""
    site: str = ""
    bounce_class: str = ""
    message_id: str = ""
    test_only: bool = False
    after: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def subject_id(self) -> str:
        """The message that message_id names: by its own id, or by the Message-ID that the engine
        made of it."""
        name = self.message_id.strip("<>").partition("@")[0]
        try:
            return canonical_uuid(name)
        except ValueError:
            return ""

    @property
    def header_tag(self) -> str:
        """The tag of an email whose sender chose its Message-ID."""
        return header_tag(self.message_id) if self.message_id else ""

    def bounds(self) -> tuple[UUID, UUID]:
        """Exclusive bounds of positions, which are ordered by time."""
        high = [UUID(self.after)] if self.after else []
        high += [lower_bound_at(self.until)] if self.until else []
        return lower_bound_at(self.since) if self.since else NIL, min(high, default=MAX)


def header_tag(message_id: str) -> str:
    """Message-IDs are found as tags, whose names never begin so."""
    return f"<{message_id.strip().strip('<>')}>"
