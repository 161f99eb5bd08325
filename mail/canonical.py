"""DKIM canonicalisation, relaxed and simple: RFC 6376 §3.4, on whole bytes.

No line is looked at alone. Most bodies are in canonical form but for the lines at their end, and
searching a body for what would have to change costs less than changing it.
"""

import re

_WSP = re.compile(rb"[ \t]+")
_FOLD = re.compile(rb"\r\n(?=[ \t])")


def relaxed_body(body: bytes) -> bytes:
    """§3.4.4. Line ends must be CRLF; bytes that are canonical come back as the same object."""
    if b"\t" in body:
        body = body.replace(b"\t", b" ")
    if b"  " in body:
        body = _squeeze(body)
    if b" \r\n" in body:
        body = body.replace(b" \r\n", b"\r\n")
    if body.endswith(b" "):
        body = body[:-1]
    return simple_body(body) if body.strip(b"\r\n") else b""


def _squeeze(body: bytes) -> bytes:
    """Runs of spaces to one. Each pass makes a run at least half as long: indents cost two."""
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
