"""The passwords and the senders of a mailbox."""

from contracts.ingest.v1.directory_pb2 import Mailbox, MailboxStatus
from mail import address
from mail.address import AddressError


def canonical_address(text: str) -> str:
    """An address as it is stored and compared: with A-labels, in lower case. Raises
    AddressError."""
    return lower_address(address.parse_mailbox(text))


def lower_address(given: address.Mailbox) -> str:
    return address.canonical(given).address.lower()


def is_username(mailbox: Mailbox, username: str) -> bool:
    try:
        return canonical_address(username) == mailbox.address
    except AddressError:
        return False


def accepts_password(mailbox: Mailbox, sha256: bytes, now_s: float) -> bool:
    """The current password, or the one before it while the last rotation is in progress. They are
    random, so comparing their hashes reveals nothing about them."""
    if mailbox.password_sha256 == sha256:
        return True
    return mailbox.previous_sha256 == sha256 and is_rotating(mailbox, now_s)


def is_rotating(mailbox: Mailbox, now_s: float) -> bool:
    """Whether two passwords work."""
    return now_s < mailbox.previous_expires_at.seconds


def is_active(mailbox: Mailbox) -> bool:
    return mailbox.status != MailboxStatus.MAILBOX_STATUS_PAUSED


def may_send_as(mailbox: Mailbox, sender: address.Mailbox) -> bool:
    """Whether it can send from an address: its own, or also others of its domain."""
    wanted = lower_address(sender)
    if mailbox.any_address:
        return wanted.rpartition("@")[2] == mailbox.address.rpartition("@")[2]
    return wanted == mailbox.address
