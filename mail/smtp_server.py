"""The server's side of an SMTP session, without I/O: RFC 5321, for submission also RFC 6409.

Octets go in, events and replies come out. Only a client that has seen PIPELINING may send commands
together (RFC 2920), and DATA ends a group, so that a message cannot be taken for commands.
"""

from collections.abc import Callable

from mail.sasl import SaslExchange
from mail.smtp_command import (
    CommandError,
    check_client_name,
    parse_command,
    parse_mail_parameters,
    parse_path,
    parse_recipient,
)
from mail.smtp_input import SmtpInput
from mail.smtp_reply import encode_reply
from mail.smtp_server_events import (
    Event,
    InputMode,
    Login,
    MailTransaction,
    MessageReceived,
    RecipientGiven,
    SenderGiven,
    ServerConfig,
    StartTls,
)

ERRORS_MAX = 20  # refused commands since the last message
COMMANDS_MAX = 100  # commands since the last message, without accepted recipients
LOGINS_MAX = 3  # failed logins
# Commands of HTTP, from scripts in a browser.
_FOREIGN = frozenset(("GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS"))
# The client must wait for their replies (RFC 2920 §3.1).
_LAST_OF_GROUP = frozenset(("HELO", "EHLO", "STARTTLS", "AUTH", "DATA"))


class ServerSession:
    """Call `receive` with octets, then `next_event` until it returns None, and send `take_replies`.
    Each event waits for `respond`. hostname: of the server, in its replies."""

    def __init__(self, config: ServerConfig, *, secure: bool) -> None:
        self._config = config
        self._secure = secure
        self.hostname = config.hostname
        self._input = SmtpInput(config.octets_max, config.kept_max)
        self._replies: list[bytes] = []
        self._mode = InputMode.COMMAND
        self._pending: Event | None = None
        self._transaction: MailTransaction | None = None
        self._refusal = ""  # of the current message
        self._surplus = 0  # its recipients beyond the limit
        self._sasl: SaslExchange | None = None
        self._extended = self._greeted = False
        self.authenticated = not config.login
        self.lines = 0  # commands, responses and messages that were read
        self._errors = self._commands = self._failed_logins = 0
        self._verbs: dict[str, Callable[[str], Event | None]] = {
            "EHLO": self._ehlo, "HELO": self._helo, "STARTTLS": self._starttls,
            "AUTH": self._auth, "MAIL": self._mail, "RCPT": self._rcpt, "DATA": self._data,
            "RSET": self._rset, "HELP": self._help, "VRFY": self._vrfy,
            "NOOP": lambda _: self._reply("250 2.0.0 Ok"),
            "QUIT": lambda _: self.close("221 2.0.0 Bye"),
        }  # fmt: skip

    # ── for the caller ──────────────────────────────────────────────────────────────────────────

    @property
    def is_closed(self) -> bool:
        """Whether to close the connection after the replies."""
        return self._mode is InputMode.CLOSED

    @property
    def unread_octets(self) -> int:
        return len(self._input)

    @property
    def expects_tls(self) -> bool:
        """Whether the pending event is that the client waits to start TLS."""
        return isinstance(self._pending, StartTls)

    @property
    def expects_message(self) -> bool:
        return self._mode is InputMode.MESSAGE

    @property
    def message_octets(self) -> int:
        """Octets of the message that is arriving."""
        return len(self._input) if self._mode is InputMode.MESSAGE else 0

    def greet(self) -> None:
        self._reply(f"220 {self.hostname} ESMTP")

    def receive(self, data: bytes) -> None:
        if self._mode is not InputMode.CLOSED:
            self._input.receive(data)

    def take_replies(self) -> bytes:
        taken = b"".join(self._replies)
        self._replies.clear()
        return taken

    def next_event(self) -> Event | None:
        """The next event to respond to; None if more octets are needed or the session is closed."""
        while self._pending is None and self._mode is not InputMode.CLOSED:
            if self._mode is InputMode.MESSAGE:
                if not self._read_message():
                    return None
            elif (line := self._read_line()) is not None:
                self._pending = self._run(line)
            else:
                return None
            self.lines += 1
        return self._pending

    def respond(self, reply: str) -> None:
        """Reply to the pending event; 421 closes the session."""
        event, self._pending = self._pending, None
        accepted = reply.startswith("2")
        if isinstance(event, Login):
            self.authenticated = accepted
            self._failed_logins += not accepted
        elif isinstance(event, SenderGiven) and accepted:
            self._transaction = MailTransaction(event.mailbox, event.utf8)
        elif isinstance(event, RecipientGiven) and accepted and self._transaction:
            self._transaction.recipients.setdefault(event.mailbox.address, event.mailbox)
            self._commands -= 1
        elif isinstance(event, MessageReceived):
            self._reset()
            if accepted:
                self._errors = self._commands = 0
        self._errors += reply.startswith("5")
        self._reply(reply)
        if isinstance(event, Login) and self._failed_logins >= LOGINS_MAX:
            self.close("421 4.7.0 Too many failed logins")

    def refuse_message(self, reply: str) -> None:
        """Discard the message that is arriving, and refuse it at its end."""
        self._refusal = self._refusal or reply
        self._input.discard_message()

    def start_tls(self) -> None:
        """TLS is on: forget everything that was said before (RFC 3207 §4.2)."""
        self._secure, self._extended, self._greeted = True, False, False
        self._reset()

    def close(self, reply: str = "") -> None:
        """Close the session, with a last reply."""
        if self._mode is InputMode.CLOSED:
            return
        self._mode, self._pending = InputMode.CLOSED, None
        self._input.clear()
        if reply:
            self._replies.append(encode_reply(reply))

    # ── octets ──────────────────────────────────────────────────────────────────────────────────

    def _read_line(self) -> bytes | None:
        line = self._input.read_line()
        if self._input.is_flooded:
            self.close("421 4.7.0 Line too long")
        return line

    def _read_message(self) -> bool:
        """Whether the end of the message has arrived."""
        content = self._input.read_message()
        octets_max = self._config.octets_max
        if self._input.is_too_large if content is None else len(content) > octets_max:
            self.refuse_message(f"552 5.3.4 The message is larger than {octets_max} octets")
        if content is None:
            if self._input.is_flooded:
                self.close("421 4.3.4 The message is too large")
            return False
        self._mode, refusal = InputMode.COMMAND, self._refusal
        if refusal:
            self._reset()
            self._refuse(refusal)
        elif (transaction := self._transaction) is not None:
            recipients = tuple(transaction.recipients.values())
            self._pending = MessageReceived(
                transaction.sender, recipients, transaction.utf8, content, self._input.is_cut
            )
        return True

    # ── commands ────────────────────────────────────────────────────────────────────────────────

    def _run(self, line: bytes) -> Event | None:
        if self._mode is InputMode.CLOSED:
            return None
        try:
            if self._mode is InputMode.SASL:
                self._check_alone()
                return self._continue_sasl(line)
            command = parse_command(line)
            self._commands += 1
            if self._commands > COMMANDS_MAX:
                self.close("421 4.7.0 Too many commands without a message")
                return None
            if command.verb in _FOREIGN:
                self.close("421 5.5.0 This is a mail server")
                return None
            if command.verb in _LAST_OF_GROUP or not self._extended:
                self._check_alone(command.verb)
            return self._verbs.get(command.verb, self._unknown)(command.argument)
        except CommandError as error:
            self._sasl, self._mode = None, InputMode.CLOSED if self.is_closed else InputMode.COMMAND
            self._refuse(str(error))
            return None

    def _check_alone(self, verb: str = "") -> None:
        """The client sent more before it read the reply."""
        if self._input and verb != "QUIT":
            self.close("554 5.5.0 Commands were sent together without permission (RFC 2920)")
            raise CommandError("")

    def _ehlo(self, argument: str) -> None:
        check_client_name(argument)
        self._reset()
        self._extended = self._greeted = True
        lines = ["PIPELINING", f"SIZE {self._config.octets_max}", "8BITMIME", "SMTPUTF8"]
        if self._secure and self._config.login:
            lines.append("AUTH PLAIN LOGIN")
        if not self._secure and self._config.starttls:
            lines.append("STARTTLS")
        lines.append("ENHANCEDSTATUSCODES")
        for line in (self.hostname, *lines[:-1]):
            self._reply(f"250-{line}")
        self._reply(f"250 {lines[-1]}")

    def _helo(self, argument: str) -> None:
        check_client_name(argument)
        self._reset()
        self._extended, self._greeted = False, True
        self._reply(f"250 {self.hostname}")

    def _starttls(self, argument: str) -> Event | None:
        if argument:
            raise CommandError("501 5.5.4 Syntax: STARTTLS")
        if self._secure or not self._config.starttls or not self._extended:
            raise CommandError("503 5.5.1 STARTTLS is not available now")
        return StartTls()

    def _auth(self, argument: str) -> Event | None:
        self._require_greeting()
        if not self._extended or self.authenticated or self._transaction:
            raise CommandError("503 5.5.1 AUTH is not available now")
        self._sasl = SaslExchange.begin(argument)
        return self._advance_sasl()

    def _continue_sasl(self, line: bytes) -> Event | None:
        if self._sasl is None:
            raise CommandError("503 5.5.1 AUTH is not available now")
        self._sasl = self._sasl.respond(line)
        return self._advance_sasl()

    def _advance_sasl(self) -> Event | None:
        if self._sasl is None or self._sasl.credentials is None:
            self._mode = InputMode.SASL
            self._replies.append(f"334 {self._sasl.challenge if self._sasl else ''}\r\n".encode())
            return None
        login = Login(*self._sasl.credentials)
        self._sasl, self._mode = None, InputMode.COMMAND
        return login

    def _mail(self, argument: str) -> Event | None:
        self._require_login()
        if self._transaction:
            raise CommandError("503 5.5.1 There is a sender already; send RSET first")
        path = parse_path(argument, "FROM:")
        parameters = parse_mail_parameters(path, octets_max=self._config.octets_max)
        if path.parameters and not self._extended:
            raise CommandError("555 5.5.4 Parameters need EHLO")
        return SenderGiven(path.mailbox, parameters.utf8)

    def _rcpt(self, argument: str) -> Event | None:
        self._require_login()
        if self._transaction is None:
            raise CommandError("503 5.5.1 Send MAIL first")
        mailbox = parse_recipient(argument, utf8=self._transaction.utf8, host=self._config.mx_host)
        if len(self._transaction.recipients) < (most := self._config.recipients_max):
            return RecipientGiven(mailbox)
        # More are no error (RFC 5321 §4.5.3.1.10), and may be as many again in one group.
        self._surplus, self._commands = self._surplus + 1, self._commands - 1
        rest = "452 4.5.3 Too many recipients; send the rest in another message"
        self._reply(rest if self._surplus <= most else "421 4.7.0 Too many recipients")
        return None

    def _data(self, argument: str) -> None:
        self._require_login()
        if argument:
            raise CommandError("501 5.5.4 Syntax: DATA")
        if self._transaction is None:
            raise CommandError("503 5.5.1 Send MAIL first")
        if not self._transaction.recipients:
            raise CommandError("554 5.5.1 No valid recipients")
        self._mode = InputMode.MESSAGE
        self._input.begin_message()
        self._reply("354 End data with <CR><LF>.<CR><LF>")

    def _rset(self, _: str) -> None:
        self._reset()
        self._reply("250 2.0.0 Ok")

    def _help(self, _: str) -> None:
        self._reply("214 2.0.0 See RFC 5321 and RFC 6409")

    def _vrfy(self, _: str) -> None:
        self._require_login()
        self._reply("252 2.5.0 Cannot verify an address; send the message")

    def _unknown(self, _: str) -> None:
        raise CommandError("500 5.5.1 Command not recognized")

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    def _require_greeting(self) -> None:
        if not self._greeted:
            raise CommandError("503 5.5.1 Send EHLO first")
        if not self._secure and self._config.login:
            raise CommandError("530 5.7.0 Must issue a STARTTLS command first")

    def _require_login(self) -> None:
        self._require_greeting()
        if not self.authenticated:
            raise CommandError("530 5.7.0 Authentication required")

    def _reset(self) -> None:
        """End the transaction."""
        self._transaction, self._refusal, self._surplus = None, "", 0

    def _refuse(self, reply: str) -> None:
        self._errors += 1
        if not reply:
            return
        self._reply(reply)
        if self._errors >= ERRORS_MAX:
            self.close("421 4.7.0 Too many errors")

    def _reply(self, reply: str) -> None:
        if reply.startswith("421"):
            self.close(reply)
        elif self._mode is not InputMode.CLOSED:
            self._replies.append(encode_reply(reply))
