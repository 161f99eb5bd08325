"""DKIM canonicalization, relaxed and simple: RFC 6376 §3.4, on whole byte strings.

No line is handled separately. Most bodies are already canonical except for trailing lines, and
searching for deviations costs less than rewriting the body.
"""

import re

_WSP = re.compile(rb"[ \t]+")
_SPACES = re.compile(rb"  +")
_LARGE = 1 << 20


def relaxed_body(body: bytes) -> bytes:
    """§3.4.4. Line ends must be CRLF. Returns the same object if the body is canonical."""
    if b"\t" in body:
        body = body.replace(b"\t", b" ")
    body = _squeeze(body)
    if body.rfind(b" \r\n") >= 0:  # `in` takes twice as long
        body = body.replace(b" \r\n", b"\r\n")
    if body.endswith(b" "):
        body = body[:-1]
    return simple_body(body) if body.strip(b"\r\n") else b""


def _squeeze(body: bytes) -> bytes:
    """Reduce runs of spaces to one.

    The regular expression needs one pass but copies every piece between runs, which costs too much
    memory for a large body. There each pass at least halves the runs; indents need two passes.
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
    # rstrip may remove a bare CR or LF that belongs to the text: restore what is not CRLF.
    tail = body[end:]
    while tail.endswith(b"\r\n\r\n"):
        tail = tail[: _half(tail)]
    return body[:end] + tail


def _half(tail: bytes) -> int:
    """Offset after the first CRLF of the run of CRLFs at the end of `tail`."""
    start = len(tail)
    while start >= 2 and tail[start - 2 : start] == b"\r\n":
        start -= 2
    return start + 2


def relaxed_header(field: bytes) -> bytes:
    """§3.4.2: one field, without its CRLF."""
    name, _, value = field.partition(b":")
    return name.strip(b" \t\r\n").lower() + b":" + relaxed_value(value)


def relaxed_value(value: bytes) -> bytes:
    """The value of a field, unfolded, with runs of white space reduced to one space."""
    if b"\x0b" in value or b"\x0c" in value or b"\r" in value.replace(b"\r\n", b""):
        # split() would take these for white space, which RFC 5234 does not.
        return _WSP.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ")
    return b" ".join(value.split())
