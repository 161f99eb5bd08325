"""SMTP replies: RFC 5321 §4.2, enhanced status codes RFC 2034 and RFC 3463 (registry: RFC 5248).

Replies are untrusted. The stored text is printable and at most 1,024 characters; an endless reply
is reported as a problem and uses bounded memory. A reply ends with the line that has its code and a
space (`NNN SP`, §4.2.1), independent of TCP segments. Lines between replies that are empty or have
no code are skipped, as in Postfix.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache

MAX_TEXT = 1024  # characters stored; RFC 5321 §4.5.3.1.5 allows 512 octets per line
MAX_LINE = 4096  # octets parsed of one line: eight times the standard's limit
MAX_TEXT_OCTETS = 16_384  # octets of text buffered for one reply, including EHLO's extensions
MAX_LINES = 512  # lines of one reply; more are an attack
MAX_OCTETS = 512 * MAX_LINES  # octets of one reply
MAX_SENT = 500  # octets of a line that is sent (§4.5.3.1.5: 512 with CRLF)

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\d|\.\d)[ \t:;,.-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ANYWHERE = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?!\d|\.\d)")


class ReplyError(ValueError):
    """The data is not an SMTP reply; the message quotes its beginning."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. `code` 200 to 599; `enhanced` like "5.1.1" or ""; `text` without either.

    lines: the raw text after the code of each line, for EHLO's extensions.
    """

    code: int
    enhanced: str
    text: str
    lines: tuple[bytes, ...] = field(default=(), compare=False, repr=False)

    @property
    def is_positive(self) -> bool:
        """2yz: success."""
        return self.code < 300

    @property
    def is_transient(self) -> bool:
        """4yz: a retry may succeed."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5yz: a retry will not succeed."""
        return self.code >= 500

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text) if part)


def reply_from_text(code: int, message: str | bytes = b"") -> Reply:
    """A reply from a code and its text, with lines joined by LF or CRLF.

    For SMTP clients that remove the code from each line themselves.
    """
    if isinstance(message, str):
        message = message.encode("utf-8", "surrogatepass")
    lines = message[: MAX_LINE * 8].split(b"\n", MAX_LINES)[:MAX_LINES]
    return _new_reply(code, [line[:MAX_LINE] for line in lines])


def parse_reply(raw: bytes) -> Reply:
    """One complete reply of one or more lines. Raises ReplyError.

    Lines without a code inside a reply are part of its text, because some servers wrap lines that
    way. If codes differ, the code and text of the last line count.
    """
    replies = ReplyParser().feed(raw if raw.endswith(b"\n") else raw + b"\n")
    if not replies:
        raise ReplyError(f"not a complete SMTP reply: {_quote(raw)}")
    return replies[0]


class ReplyParser:
    """Parses a byte stream into replies. Buffers at most one line and one reply's text."""

    __slots__ = ("_code", "_count", "_lines", "_octets", "_rest", "_text_octets", "problem")

    def __init__(self) -> None:
        self.problem = ""  # why parsing has stopped
        self._rest = b""
        self._code = 0
        self._count = 0
        self._text_octets = 0
        self._octets = 0  # since the last reply
        self._lines: list[bytes] = []

    @property
    def pending(self) -> bool:
        """Whether an incomplete reply is buffered, which STARTTLS must discard."""
        return bool(self._rest or self._code or self.problem)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes, up to a `problem`."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:MAX_LINE]  # drop the rest of an endless line
        replies: list[Reply] = []
        for line in lines:
            if self.problem:
                break
            done = self._add_line(line[:MAX_LINE].rstrip(b"\r"))
            if done is not None:
                replies.append(done)
        self._octets = len(rest) if replies else self._octets + len(data)
        if self._octets > MAX_OCTETS and not self.problem:
            self.problem = f"more than {MAX_OCTETS} octets without the end of a reply"
        return replies

    def _add_line(self, line: bytes) -> Reply | None:
        self._count += 1
        if self._count > MAX_LINES:
            self.problem = f"more than {MAX_LINES} lines without the end of a reply"
            return None
        match = _LINE.fullmatch(line)
        if match is None:
            if self._code and line.strip():
                self._append_text(line)
            return None
        if int(match[1]) != self._code:
            self._code, self._text_octets = int(match[1]), 0
            self._lines = []
        self._append_text(match[3] or b"")
        if match[2] == b"-":
            return None
        done = _new_reply(self._code, self._lines)
        self._code = self._count = self._text_octets = 0
        self._lines = []
        return done

    def _append_text(self, text: bytes) -> None:
        if self._text_octets < MAX_TEXT_OCTETS:
            self._lines.append(text)
            self._text_octets += len(text)


def _quote(raw: bytes) -> str:
    return repr(raw[:80].decode("utf-8", "replace"))


def _new_reply(code: int, lines: list[bytes]) -> Reply:
    enhanced, texts = "", []
    for line in lines:
        text = clean_text(line)
        match = _ENHANCED.match(text)
        if match is not None:
            enhanced = enhanced or match[0][: match.end(3) - match.start(0)]
            text = text[match.end() :]
        if text:
            texts.append(text)
    joined = " ".join(texts)[:MAX_TEXT]
    return Reply(code, enhanced or _embedded_enhanced(code, joined), joined, tuple(lines))


def _embedded_enhanced(code: int, text: str) -> str:
    """An enhanced code inside the text, as in `Message rejected (#5.1.1)`, if its class matches."""
    match = _ANYWHERE.search(text, 0, 300) if "." in text else None
    return match[0] if match is not None and match[1] == str(code)[0] else ""


def clean_text(raw: bytes | str) -> str:
    """Untrusted text made safe to store: printable, single spaces, at most MAX_TEXT characters."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    text = text[: MAX_TEXT * 2]
    if not (text.isascii() and text.isprintable()):
        text = _CONTROL.sub(" ", text)
    return (
        " ".join(text.split())[:MAX_TEXT]
        if "  " in text or text != text.strip()
        else text[:MAX_TEXT]
    )


@lru_cache(maxsize=100)  # a server sends few different ones
def encode_reply(reply: str) -> bytes:
    """A line of a server's reply, in ASCII with its CRLF. reply: the code and the text."""
    return clean_text(reply)[:MAX_SENT].encode("ascii", "replace") + b"\r\n"
