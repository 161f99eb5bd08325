"""SMTP replies: RFC 5321 §4.2, enhanced status codes RFC 2034 and RFC 3463 (registry: RFC 5248).

A server may send anything. What is kept is bounded and printable: at most 1,024 characters of text;
a reply without an end is told as such and never grows the memory. A reply ends with the line of its
last code, `NNN SP`, however TCP has cut it (§4.2.1); lines that are empty or have no code before
and after a reply are skipped, as Postfix does.
"""

import re
from dataclasses import dataclass, field

MAX_TEXT = 1024  # characters kept; RFC 5321 §4.5.3.1.5 allows 512 octets a line
MAX_LINE = 4096  # octets looked at in one line: eight times what a server may send
MAX_TEXT_OCTETS = (
    16_384  # octets of text that are kept until its end; EHLO's extensions are among them
)
MAX_LINES = 512  # lines of one reply; more is an attack, not an answer
MAX_OCTETS = 512 * MAX_LINES  # of one reply, however long its lines are

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\d|\.\d)[ \t:;,.-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ANYWHERE = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?!\d|\.\d)")


class ReplyError(ValueError):
    """What the server sent is not an SMTP reply; the message quotes its beginning."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. `code` 200 to 599; `enhanced` like "5.1.1" or ""; `text` without either.

    lines: what stands behind the code of each line, as it came, for those of EHLO.
    """

    code: int
    enhanced: str
    text: str
    lines: tuple[bytes, ...] = field(default=(), compare=False, repr=False)

    @property
    def is_positive(self) -> bool:
        """2yz: done."""
        return self.code < 300

    @property
    def is_transient(self) -> bool:
        """4yz: may work later."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5yz: will not work as it is."""
        return self.code >= 500

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text) if part)


def reply(code: int, message: str | bytes = b"") -> Reply:
    """A reply from a code and the text after it, lines joined by LF or CRLF.

    For SMTP clients that take the code off each line themselves.
    """
    if isinstance(message, str):
        message = message.encode("utf-8", "surrogatepass")
    lines = message[: MAX_LINE * 8].split(b"\n", MAX_LINES)[:MAX_LINES]
    return _new_reply(code, [line[:MAX_LINE] for line in lines])


def parse(raw: bytes) -> Reply:
    """One whole reply of one or more lines. Raises ReplyError.

    Lines without a code inside a reply are kept as text: servers that break their lines by hand do
    that. Where codes differ, the last line decides, and its text is what is told.
    """
    replies = ReplyParser().feed(raw if raw.endswith(b"\n") else raw + b"\n")
    if not replies:
        raise ReplyError(f"not a whole SMTP reply: {_quote(raw)}")
    return replies[0]


class ReplyParser:
    """Bytes in, replies out, however they are cut. Holds at most one line and one reply's text."""

    __slots__ = ("_code", "_count", "_lines", "_octets", "_rest", "_text_octets", "problem")

    def __init__(self) -> None:
        self.problem = ""  # why nothing that follows can be a reply
        self._rest = b""
        self._code = 0
        self._count = 0
        self._text_octets = 0
        self._octets = 0  # since the last reply
        self._lines: list[bytes] = []

    @property
    def pending(self) -> bool:
        """Whether a reply has begun that has not ended (for what STARTTLS must discard)."""
        return bool(self._rest or self._code or self.problem)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes; those that came before a `problem` count."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:MAX_LINE]  # the rest of an endless line is dropped as it comes
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
        text = clean(line)
        match = _ENHANCED.match(text)
        if match is not None:
            enhanced = enhanced or match[0][: match.end(3) - match.start(0)]
            text = text[match.end() :]
        if text:
            texts.append(text)
    joined = " ".join(texts)[:MAX_TEXT]
    return Reply(code, enhanced or _embedded_enhanced(code, joined), joined, tuple(lines))


def _embedded_enhanced(code: int, text: str) -> str:
    """An enhanced code inside the text, as in `Message rejected (#5.1.1)`, of the reply's class."""
    match = _ANYWHERE.search(text, 0, 300) if "." in text else None
    return match[0] if match is not None and match[1] == str(code)[0] else ""


def clean(raw: bytes | str) -> str:
    """Text of a stranger made safe to keep: printable, single-spaced, not longer than MAX_TEXT."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    text = text[: MAX_TEXT * 2]
    if not (text.isascii() and text.isprintable()):
        text = _CONTROL.sub(" ", text)
    return (
        " ".join(text.split())[:MAX_TEXT]
        if "  " in text or text != text.strip()
        else text[:MAX_TEXT]
    )
