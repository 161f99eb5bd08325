"""Cancel the waiting messages of a tenant that match a filter, a page at a time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.ingest.v1.events_pb2 import MessageContext
from kernel import clock
from services.ingest.domain.waiting_filter import WaitingFilter

PAGE_S = 1.0  # after this time no further rows are read for a page
CHUNK = 500  # messages that are canceled at a time


class WaitingMessages(Protocol):
    """The waiting messages of one tenant."""

    async def read_page(self, after: str) -> tuple[Sequence[tuple[MessageContext, str]], str]:
        """Some messages with their sites, and where the next page begins; empty after the last."""
        ...

    async def cancel(self, contexts: Sequence[MessageContext]) -> int:
        """The number that was canceled; delivery of the others has started."""
        ...

    async def tags_of(self, email_ids: Iterable[str]) -> Mapping[str, Mapping[str, str]]: ...


@dataclass(slots=True)
class CancellationPage:
    """matched: messages that waited when they were read. next: where the next page begins; empty
    after the last."""

    matched: int = 0
    canceled: int = 0
    next: str = ""


async def cancel_matching(
    mail: WaitingMessages, wanted: WaitingFilter, *, after: str = "", dry_run: bool = False
) -> CancellationPage:
    """Cancel what matches, or count it. A repeat continues where an interrupted one has ended,
    because canceled messages no longer wait."""
    page = CancellationPage(next=after)
    until_s = clock.monotonic_s() + PAGE_S
    while clock.monotonic_s() < until_s:
        found, page.next = await mail.read_page(page.next)
        contexts = [context for context, site in found if wanted.matches(context, site)]
        contexts = await with_tags(mail, contexts, wanted)
        page.matched += len(contexts)
        for first in () if dry_run else range(0, len(contexts), CHUNK):
            page.canceled += await mail.cancel(contexts[first : first + CHUNK])
        if not page.next:
            break
    return page


async def with_tags(
    mail: WaitingMessages, contexts: list[MessageContext], wanted: WaitingFilter
) -> list[MessageContext]:
    if wanted.tag is None or not contexts:
        return contexts
    tags = await mail.tags_of({one.email_id for one in contexts})
    return [one for one in contexts if wanted.matches_tags(tags.get(one.email_id, {}))]
