"""DKIM canonicalisation, relaxed and simple: RFC 6376 §3.4, on whole bytes.

No line is looked at alone. Most bodies are in canonical form but for the lines at their end, and
searching a body for what would have to change costs less than changing it.
"""

import re

_WSP = re.compile(rb"[ \t]+")
_SPACES = re.compile(rb"  +")
_LARGE = 1 << 20


def relaxed_body(body: bytes) -> bytes:
    """§3.4.4. Line ends must be CRLF; bytes that are canonical come back as the same object."""
    if b"\t" in body:
        body = body.replace(b"\t", b" ")
    body = _squeeze(body)
    if body.rfind(b" \r\n") >= 0:  # `in` takes twice as long
        body = body.replace(b" \r\n", b"\r\n")
    if body.endswith(b" "):
        body = body[:-1]
    return simple_body(body) if body.strip(b"\r\n") else b""


def _squeeze(body: bytes) -> bytes:
    """Runs of spaces to one.

    The expression sees a body once, but holds all that is between two runs: not for a large one.
    There each pass makes a run at least half as long: indents cost two.
    """
    if len(body) < _LARGE:
        return _SPACES.sub(b" ", body)
    shorter = body.replace(b"    ", b" ").replace(b"  ", b" ")
    while len(shorter) != len(body):
        body = shorter
        shorter = body.replace(b"  ", b" ")
    return shorter


def simple_body(body: bytes) -> bytes:
    """§3.4.3: exactly one CRLF at the end; an empty body is one CRLF."""
    if not body.endswith(b"\r\n"):
        return body + b"\r\n"
    if not body.endswith(b"\r\n\r\n"):
        return body
    end = len(body.rstrip(b"\r\n"))
    # rstrip may take a bare CR or LF that belongs to the text: put back what is not CRLF.
    tail = body[end:]
    while tail.endswith(b"\r\n\r\n"):
        tail = tail[: _half(tail)]
    return body[:end] + tail


def _half(tail: bytes) -> int:
    """Where the run of CRLF at the end of `tail` starts, plus one CRLF."""
    start = len(tail)
    while start >= 2 and tail[start - 2 : start] == b"\r\n":
        start -= 2
    return start + 2


def relaxed_header(field: bytes) -> bytes:
    """§3.4.2: one field, without its CRLF."""
    name, _, value = field.partition(b":")
    return name.strip(b" \t\r\n").lower() + b":" + relaxed_value(value)


def relaxed_value(value: bytes) -> bytes:
    """The value of a field unfolded, its white space squeezed."""
    if b"\x0b" in value or b"\x0c" in value or b"\r" in value.replace(b"\r\n", b""):
        # split() would take these for white space, which RFC 5234 does not.
        return _WSP.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")
    return b" ".join(value.split())
