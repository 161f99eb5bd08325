"""Which of the waiting messages a client cancels."""

from collections.abc import Mapping
from typing import NamedTuple

from contracts.ingest.v1.events_pb2 import MessageContext
from mail.address import AddressError, domain_of, to_ascii

Tag = tuple[str, str | None]  # its name and value; without a value, any


class WaitingFilter(NamedTuple):
    """Every part that is set must match. sender: an address, or a domain. test_only: as a test key
    sees. See `parse`."""

    recipient_domain: str = ""
    sender: str = ""
    site: str = ""
    tag: Tag | None = None
    test_only: bool = False

    @classmethod
    def parse(
        cls,
        *,
        recipient_domain: str,
        sender: str,
        site: str,
        tag: Tag | None,
        test_only: bool = False,
    ) -> "WaitingFilter":
        """In the form in which messages are compared: lower case, domains as A-labels. Raises
        AddressError."""
        domain = to_ascii(recipient_domain) if recipient_domain else ""
        sender = comparable_sender(sender) if sender else ""
        return cls(domain, sender, site.lower(), tag, test_only)

    @property
    def is_empty(self) -> bool:
        return not any(self[:4])

    def matches(self, context: MessageContext, site: str) -> bool:
        """Without the tag, which the context does not have."""
        return (
            (context.test or not self.test_only)
            and self.recipient_domain in ("", domain_of(context.recipient))
            and (not self.sender or self._is_sender(context.sender))
            and self.site in ("", site.lower())
        )

    def _is_sender(self, address: str) -> bool:
        try:
            sender = comparable_sender(address)
        except AddressError:  # accepted by rules of another version
            return False
        return self.sender in (sender, domain_of(sender))

    def matches_tags(self, tags: Mapping[str, str]) -> bool:
        if self.tag is None:
            return True
        name, value = self.tag
        return name in tags and value in (None, tags[name])


def comparable_sender(sender: str) -> str:
    """An address or a domain in lower case, its domain in A-labels. Raises AddressError."""
    local, at, domain = sender.lower().rpartition("@")
    return f"{local}{at}{to_ascii(domain)}"
