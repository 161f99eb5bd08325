"""SMTP commands as a server reads them: RFC 5321 §4.1, with the parameters of RFC 1870 (SIZE), 4954
(AUTH), 6152 (BODY) and 6531 (SMTPUTF8)."""

import binascii
import re
from collections.abc import Mapping
from typing import NamedTuple

from mail.address import AddressError, Mailbox, needs_smtputf8, parse_mailbox_cached

LINE_MAX = 2_048  # octets with CRLF, except for AUTH (RFC 5321 §4.5.3.1.4 requires 512)
ARGUMENT_MAX = 512  # octets of a name, a path or a parameter list
_VERB = re.compile(r"[A-Za-z]{1,12}")
_COMMAND_LINE = re.compile(rb"([A-Za-z]{1,12})(?: ([^\x00-\x1f\x7f]*))?\r\n")
_PATH = re.compile(r' *<([^<>"]*(?:"(?:[^"\\]|\\.)*"[^<>"]*)*)>((?: .*)?)')
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DOMAIN = re.compile(r"[A-Za-z0-9_\[\]:.\u0080-\U0010ffff-]{1,255}")
_SIZE = re.compile(r"[0-9]{1,20}")
_POSTMASTER = "TO:<POSTMASTER>"


class CommandError(ValueError):
    """The command is refused; the text is the reply."""


class Command(NamedTuple):
    """verb: in upper case."""

    verb: str
    argument: str


class Path(NamedTuple):
    """mailbox: None is the null reverse path `<>`. parameters: values by name in upper case."""

    mailbox: Mailbox | None
    parameters: Mapping[str, str]


class MailParameters(NamedTuple):
    """size: as declared; None if it was not."""

    size: int | None
    utf8: bool


def parse_command(line: bytes) -> Command:
    """Parse a line, given with its line end; an empty one was too long. Raises CommandError."""
    if len(line) <= LINE_MAX and line.isascii() and (match := _COMMAND_LINE.fullmatch(line)):
        verb, argument = match.groups(b"")
        return Command(verb.decode("ascii").upper(), argument.decode("ascii").strip(" "))
    return _parse_slowly(line)


def _parse_slowly(line: bytes) -> Command:
    """Raises CommandError."""
    if not line or (len(line) > LINE_MAX and line[:5].upper() != b"AUTH "):
        raise CommandError("500 5.5.2 Line too long")
    if not line.endswith(b"\r\n"):
        raise CommandError("500 5.5.2 Syntax error: end lines with CRLF")
    try:
        text = line[:-2].decode("utf-8")
    except UnicodeDecodeError:
        raise CommandError("500 5.5.2 Syntax error: the line is not UTF-8") from None
    if _CONTROL.search(text):
        raise CommandError("500 5.5.2 Syntax error: the line has a control character")
    verb, _, argument = text.partition(" ")
    if not _VERB.fullmatch(verb):
        raise CommandError("500 5.5.2 Syntax error: command unrecognized")
    return Command(verb.upper(), argument.strip(" "))


def check_client_name(argument: str) -> str:
    """The client's name in EHLO: a domain or an address literal. Raises CommandError."""
    if not _DOMAIN.fullmatch(argument):
        raise CommandError("501 5.5.4 Syntax: EHLO followed by a host name or address literal")
    return argument


def parse_path(argument: str, keyword: str) -> Path:
    """The argument of MAIL or RCPT. keyword: `FROM:` or `TO:`. Raises CommandError."""
    if len(argument.encode()) > ARGUMENT_MAX:
        raise CommandError("500 5.5.2 Line too long")
    found = _PATH.fullmatch(argument, len(keyword))
    if argument[: len(keyword)].upper() != keyword or found is None:
        command = "MAIL" if keyword == "FROM:" else "RCPT"
        raise CommandError(f"501 5.5.4 Syntax: {command} {keyword}<address>")
    parameters = _parameters(found[2])
    if not found[1]:
        return Path(None, parameters)
    try:
        return Path(parse_mailbox_cached(found[1]), parameters)
    except AddressError as error:
        code = "501 5.1.7" if keyword == "FROM:" else "501 5.1.3"
        raise CommandError(f"{code} Invalid address: {error}") from None


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in text.split():
        match = _PARAMETER.fullmatch(word)
        if match is None or match[1].upper() in found:
            raise CommandError("501 5.5.4 Invalid or repeated parameter")
        found[match[1].upper()] = match[2] or ""
    return found


def parse_mail_parameters(path: Path, *, octets_max: int) -> MailParameters:
    """Raises CommandError for a parameter that was not offered, or a message that is too large."""
    given = dict(path.parameters)
    size, body = given.pop("SIZE", None), given.pop("BODY", "7BIT").upper()
    utf8 = given.pop("SMTPUTF8", None)
    given.pop("AUTH", None)  # RFC 4954 §5: accepted, and not trusted
    if "REQUIRETLS" in given:  # RFC 8689
        raise CommandError("550 5.7.30 REQUIRETLS is not supported")
    if given:
        raise CommandError(f"555 5.5.4 Parameter {next(iter(given))} not recognized")
    if body not in ("7BIT", "8BITMIME") or utf8:
        raise CommandError("501 5.5.4 Invalid value of a parameter")
    if size is not None and not _SIZE.fullmatch(size):
        raise CommandError("501 5.5.4 Syntax: SIZE=octets")
    if size is not None and int(size) > octets_max:
        raise CommandError(f"552 5.3.4 The message is larger than {octets_max} octets")
    _check_utf8(path.mailbox, utf8 is not None)
    return MailParameters(None if size is None else int(size), utf8 is not None)


def parse_recipient(argument: str, *, utf8: bool, host: str) -> Mailbox:
    """The argument of RCPT. host: whose postmaster needs no domain (RFC 5321 §4.1.1.3), whatever
    its name; empty: none. Raises CommandError."""
    is_postmaster = bool(host) and argument.upper().startswith(_POSTMASTER)
    if is_postmaster:
        argument = f"TO:<postmaster@mx.invalid>{argument[len(_POSTMASTER) :]}"
    path = parse_path(argument, "TO:")
    if path.parameters:
        raise CommandError(f"555 5.5.4 Parameter {next(iter(path.parameters))} not recognized")
    if is_postmaster:
        return Mailbox("", "postmaster", host.lower())
    if path.mailbox is None:
        raise CommandError("501 5.1.3 Invalid address: it is empty")
    _check_utf8(path.mailbox, utf8)
    return path.mailbox


def _check_utf8(mailbox: Mailbox | None, utf8: bool) -> None:
    if mailbox is not None and not utf8 and needs_smtputf8(mailbox):
        raise CommandError("553 5.6.7 The address needs SMTPUTF8 in MAIL FROM")


def decode_base64(text: str) -> str:
    """A SASL response in UTF-8 (RFC 4954 §4); `=` is an empty one. Raises CommandError."""
    try:
        octets = b"" if text == "=" else binascii.a2b_base64(text.encode(), strict_mode=True)
        return octets.decode("utf-8")
    except (binascii.Error, UnicodeError):
        raise CommandError("501 5.5.2 Invalid base64") from None
