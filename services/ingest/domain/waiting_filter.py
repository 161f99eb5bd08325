"""Which of the waiting messages a client cancels."""

from collections.abc import Mapping
from typing import NamedTuple

from contracts.ingest.v1.events_pb2 import MessageContext
from mail.address import domain_of


class WaitingFilter(NamedTuple):
    """Every part that is set must match. sender: an address, or a domain. tag: its name and value;
    without a value, any. test_only: as a test key sees."""

    recipient_domain: str = ""
    sender: str = ""
    site: str = ""
    tag: tuple[str, str | None] | None = None
    test_only: bool = False

    def matches(self, context: MessageContext, site: str) -> bool:
        """Without the tag, which the context does not have."""
        return (
            (context.test or not self.test_only)
            and self.recipient_domain in ("", domain_of(context.recipient))
            and self.sender in ("", context.sender, domain_of(context.sender))
            and self.site in ("", site)
        )

    def matches_tags(self, tags: Mapping[str, str]) -> bool:
        if self.tag is None:
            return True
        name, value = self.tag
        return name in tags and value in (None, tags[name])
