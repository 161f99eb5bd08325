"""SASL exchanges of SMTP AUTH as a server: RFC 4954, with PLAIN (RFC 4616) and LOGIN."""

from dataclasses import dataclass, replace

from mail.smtp_command import CommandError, decode_base64

USERNAME = "VXNlcm5hbWU6"  # base64 of `Username:`
PASSWORD = "UGFzc3dvcmQ6"  # noqa: S105 - base64 of `Password:`
CREDENTIAL_MAX = 255  # octets of a username or a password


@dataclass(frozen=True, slots=True)
class SaslExchange:
    """challenge: for the next 334 reply. credentials: username and password, once known."""

    mechanism: str
    challenge: str = ""
    username: str | None = None
    credentials: tuple[str, str] | None = None

    @classmethod
    def begin(cls, argument: str) -> "SaslExchange":
        """The argument of AUTH: a mechanism, and for some clients the first response. Raises
        CommandError."""
        mechanism, _, initial = argument.partition(" ")
        if mechanism.upper() == "PLAIN":
            exchange = cls("PLAIN")
        elif mechanism.upper() == "LOGIN":
            exchange = cls("LOGIN", USERNAME)
        else:
            raise CommandError("504 5.5.4 Mechanism not recognized; use PLAIN or LOGIN")
        return exchange._take(initial) if initial else exchange

    def respond(self, line: bytes) -> "SaslExchange":
        """The client's response to the challenge. Raises CommandError."""
        if not line:  # it was too long
            raise CommandError("500 5.5.6 Authentication exchange line is too long")
        text = line.rstrip(b"\r\n").decode("latin-1")
        if text == "*":
            raise CommandError("501 5.7.0 Authentication canceled")
        if not text.isascii() or not line.endswith(b"\r\n"):
            raise CommandError("501 5.5.2 Invalid base64")
        return self._take(text)

    def _take(self, text: str) -> "SaslExchange":
        decoded = decode_base64(text)
        if self.mechanism == "PLAIN":
            return replace(self, credentials=_plain(decoded))
        _check(decoded)
        if self.username is None:
            return replace(self, username=decoded, challenge=PASSWORD)
        return replace(self, credentials=(self.username, decoded))


def _plain(decoded: str) -> tuple[str, str]:
    """`[authzid] NUL authcid NUL password`. Acting for another identity is refused."""
    parts = decoded.split("\0")
    if len(parts) != 3 or not parts[1] or not parts[2]:
        raise CommandError("501 5.5.2 Syntax: authorization NUL username NUL password")
    acts_for, username, password = parts
    if acts_for and acts_for != username:
        raise CommandError("535 5.7.8 Authorization identity differs from the username")
    _check(username)
    _check(password)
    return username, password


def _check(text: str) -> None:
    if "\0" in text or len(text.encode()) > CREDENTIAL_MAX:
        raise CommandError("501 5.5.2 Username or password is too long")
