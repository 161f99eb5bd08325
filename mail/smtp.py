"""SMTP commands and data: RFC 5321, with parameters of RFC 1870, 2920, 3461, 6152 and 6531.

Line ends are normalized to CRLF first: no sequence that another server could interpret as end of
data (CVE-2023-51764, -51765, -51766) passes `normalize_line_endings`.
"""

import re

from mail.address import AddressError, Mailbox, canonical, needs_smtputf8

MAX_LINE = 998  # RFC 5322 §2.1.1
MAX_COMMAND = 512  # octets with CRLF (§4.5.3.1.4); RFC 3461 allows more, but not every server
MAX_ENVID = 100  # octets as encoded: RFC 3461 §4.4
_FORBIDDEN = re.compile(rb"[\x00-\x20<>\x7f]")
_XTEXT = re.compile(rb"[^!-*,-<>-~]")
_UTF8_XTEXT = re.compile(r"[^!-*,-<>-\[\]-~]")  # RFC 6533 §3: nor a backslash


def normalize_line_endings(raw: bytes) -> bytes:
    """`raw` with CRLF for every CR, LF and CRLF, without NUL, ending in CRLF.

    NULs are removed first, so that `CR NUL LF` is one line end and not two. Returns the same object
    if nothing must change.
    """
    if b"\0" in raw:
        raw = raw.replace(b"\0", b"")
    if not _is_paired(raw):
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return raw if not raw or raw.endswith(b"\r\n") else raw + b"\r\n"


def is_normalized(raw: bytes) -> bool:
    """Whether the message has only CRLF line ends, no NUL, and ends in CRLF."""
    return raw.endswith(b"\r\n") and b"\0" not in raw and _is_paired(raw)


def _is_paired(raw: bytes) -> bool:
    """Whether every CR is followed by LF, and every LF follows a CR.

    Replacing single octets is more than twice as fast as counting pairs.
    """
    return raw == raw.replace(b"\r", b"").replace(b"\n", b"\r\n")


def has_long_line(raw: bytes, limit: int = MAX_LINE) -> bool:
    """Whether a line is longer than `limit` octets (CRLF not counted); CRLF line ends assumed.

    Jumps to the last line end within `limit` each time, so it needs about size/limit steps.
    """
    start, end = 0, len(raw)
    while end - start > limit:
        stop = raw.rfind(b"\r\n", start, start + limit + 2)
        if stop < 0:
            return True
        start = stop + 2
    return False


def dot_stuff(body: bytes) -> bytes:
    """`body` with every leading dot doubled (§4.5.2); CRLF line ends required.

    Raises ValueError for other line ends, with which dot-stuffing would be unsafe.
    """
    if body and not is_normalized(body):
        raise ValueError("the line ends are not normalized")
    return stuff_lines(body)


def stuff_lines(body: bytes) -> bytes:
    """`dot_stuff` for lines that are known to end in CRLF."""
    if body.rfind(b"\r\n.") >= 0:  # `in` takes twice as long
        body = body.replace(b"\r\n.", b"\r\n..")
    return b"." + body if body.startswith(b".") else body


def dot_unstuff(wire: bytes) -> bytes:
    """The inverse of `dot_stuff`: removes one leading dot from each line that has one."""
    if wire.rfind(b"\r\n.") >= 0:  # `in` takes twice as long
        wire = wire.replace(b"\r\n.", b"\r\n")
    return wire[1:] if wire.startswith(b".") else wire


def mail_command(
    mailbox: Mailbox | None,
    *,
    size: int | None = None,
    eight_bit: bool = False,
    utf8: bool = False,
    envelope_id: str = "",
) -> bytes:
    """`MAIL FROM:<…>` with its parameters and CRLF; None is the null reverse path.

    Pass `size` (octets), `eight_bit`, `utf8` and `envelope_id` only if the server offers SIZE,
    8BITMIME, SMTPUTF8 and DSN. With `envelope_id`, reports contain that id and return only headers.
    Raises AddressError if the address needs SMTPUTF8 and `utf8` is False.
    """
    parts = [b"MAIL FROM:<%b>" % _path(mailbox, utf8)]
    if size is not None:
        parts.append(b"SIZE=%d" % size)
    if eight_bit:
        parts.append(b"BODY=8BITMIME")
    if utf8:
        parts.append(b"SMTPUTF8")
    if envelope_id:
        encoded = encode_xtext(envelope_id.encode("utf-8"))
        parts.append(b"RET=HDRS ENVID=" + encoded if len(encoded) <= MAX_ENVID else b"RET=HDRS")
    return b" ".join(parts) + b"\r\n"


def rcpt_command(mailbox: Mailbox, *, utf8: bool = False, dsn: bool = False) -> bytes:
    """`RCPT TO:<…>` with CRLF. Raises AddressError (5.6.7) as `mail_command` does.

    `dsn`: the server offers DSN; requests reports of failures and delays, not of success. They
    repeat the address as given here (ORCPT), unless the command would be too long.
    """
    path = _path(mailbox, utf8)
    if not dsn:
        return b"RCPT TO:<%b>\r\n" % path
    command = b"RCPT TO:<%b> NOTIFY=FAILURE,DELAY" % path
    original = b" ORCPT=" + _original(path)
    fits = len(command) + len(original) + 2 <= MAX_COMMAND
    return command + original + b"\r\n" if fits else command + b"\r\n"


def _original(path: bytes) -> bytes:
    """An address with its type (RFC 3461 §4.2); non-ASCII addresses as utf-8-addr-xtext, which is
    ASCII (RFC 6533 §3)."""
    if path.isascii():
        return b"rfc822;" + encode_xtext(path)
    escaped = _UTF8_XTEXT.sub(lambda m: f"\\x{{{ord(m[0]):02X}}}", path.decode("utf-8"))
    return b"utf-8;" + escaped.encode("ascii")


def ehlo_command(name: str) -> bytes:
    """`EHLO name` with CRLF. Raises ValueError unless it is a host name or address literal."""
    if not re.fullmatch(r"[A-Za-z0-9.:\[\]_-]{1,255}", name):
        raise ValueError(f"{name[:80]!r} is not a valid EHLO name")
    return b"EHLO %b\r\n" % name.encode("ascii")


def _path(mailbox: Mailbox | None, utf8: bool) -> bytes:
    if mailbox is None:
        return b""
    if needs_smtputf8(mailbox) and not utf8:
        raise AddressError("the address needs SMTPUTF8, which the server does not offer (5.6.7)")
    path = canonical(mailbox).address.encode("utf-8")
    # Only a quoted local part can contain spaces and brackets.
    bare = re.sub(rb'^"(?:[^"\\\x00-\x1f\x7f]|\\[ -~])*"', b"", path)
    if _FORBIDDEN.search(bare):
        raise AddressError("the address has a character that cannot be in an SMTP path")
    return path


def encode_xtext(value: bytes) -> bytes:
    """`value` encoded for an ESMTP parameter (RFC 3461 §4), for ENVID and ORCPT."""
    return _XTEXT.sub(lambda m: b"+%02X" % m[0][0], value)
