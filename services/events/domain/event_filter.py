"""The filter of a search in the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.ids import MAX, NIL, canonical_uuid, lower_bound_at
from services.events.domain.search_columns import EventSearchColumns
from services.events.domain.subscription import tags_of


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

    def matches(
        self, found: EventSearchColumns, subject_id: str, accepted: MessageAccepted | None
    ) -> bool:
        """Whether an event matches, without regard to times. accepted: of its message, None if
        unknown."""
        if not found.type or (self.test_only and not found.test):
            return False
        if self.message_id and not self._is_of_message(subject_id, accepted):
            return False
        if self.tag and (accepted is None or self.tag not in tags_of(accepted)):
            return False
        given = (self.to, self.domain, self.site, self.bounce_class)
        domain = found.recipient.rpartition("@")[2]
        actual = (found.recipient, domain, found.site, found.bounce_class)
        return (not self.types or found.type in self.types) and all(
            one in {"", other} for one, other in zip(given, actual, strict=True)
        )

    def _is_of_message(self, subject_id: str, accepted: MessageAccepted | None) -> bool:
        own = accepted.own_message_id if accepted is not None else ""
        return subject_id == self.subject_id or bool(own and header_tag(own) == self.header_tag)

    def bounds(self) -> tuple[UUID, UUID]:
        """Exclusive bounds of positions, which are ordered by time."""
        high = [UUID(self.after)] if self.after else []
        high += [lower_bound_at(self.until)] if self.until else []
        return lower_bound_at(self.since) if self.since else NIL, min(high, default=MAX)


def header_tag(message_id: str) -> str:
    """Message-IDs are found as tags, whose names never begin so."""
    return f"<{message_id.strip().strip('<>')}>"
