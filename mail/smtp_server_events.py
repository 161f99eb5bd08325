"""What an SMTP server session reports, and its configuration: RFC 5321, RFC 4954, RFC 3207."""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, TypeAlias

from mail.address import Mailbox


class Login(NamedTuple):
    """The client's credentials."""

    username: str
    password: str


class StartTls(NamedTuple):
    """The client expects a TLS handshake after the reply."""


class SenderGiven(NamedTuple):
    """mailbox: None is the null reverse path."""

    mailbox: Mailbox | None
    utf8: bool


class RecipientGiven(NamedTuple):
    """A recipient of the current message."""

    mailbox: Mailbox


class MessageReceived(NamedTuple):
    """content: without dot-stuffing and end of data, otherwise as sent. is_cut: it is only the
    begin, because the message has more octets than the server keeps."""

    sender: Mailbox | None
    recipients: tuple[Mailbox, ...]
    utf8: bool
    content: bytes
    is_cut: bool = False


Event: TypeAlias = Login | StartTls | SenderGiven | RecipientGiven | MessageReceived


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """hostname: in the greeting. octets_max: of a message. kept_max: octets from its begin that are
    kept; 0: all. starttls: offered until TLS is on.
    login: clients must log in, over TLS (submission); else the server takes mail for its own
    addresses from strangers (MX).
    """

    hostname: str
    octets_max: int
    kept_max: int = 0
    recipients_max: int = 1_000
    starttls: bool = True
    login: bool = True

    @property
    def mx_host(self) -> str:
        """Whose postmaster needs no domain: an MX has one (RFC 5321 §4.1.1.3)."""
        return "" if self.login else self.hostname


@dataclass(frozen=True, slots=True)
class MailTransaction:
    """A message that is being sent: from MAIL to the end of data. recipients: by address."""

    sender: Mailbox | None
    utf8: bool
    recipients: dict[str, Mailbox] = field(default_factory=dict)


class InputMode(Enum):
    """What the next octets are."""

    COMMAND = 0
    SASL = 1
    MESSAGE = 2
    CLOSED = 3
