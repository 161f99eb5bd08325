"""Convert msgspec's decoding errors to faults with JSON pointers (RFC 6901)."""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from services.ingest.domain.choices import choices_at
from services.ingest.domain.patterns import explanation_of
from services.ingest.domain.problem import Fault, Problem, invalid

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.+)`")
_UNKNOWN = re.compile(r"unknown field `(.+)`")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")

ENUM_ERROR = "Invalid enum value"
_BOM = b"\xef\xbb\xbf"  # RFC 8259 §8.1: a parser may ignore it
_SOME_KEY = "..."  # msgspec's placeholder for a map key
_KEY_MAX = 80  # maximum length in characters of a reported name
_ECHO_MAX = 400  # maximum length of a reported error, so that the body is not echoed

T = TypeVar("T")


def decode_body(decode: Callable[[bytes], T], body: bytes) -> T:
    """Decode a body. All JSON from clients is decoded here. Raises Problem."""
    body = body.removeprefix(_BOM)
    try:
        return decode(body)
    except msgspec.DecodeError as error:
        raise problem_of(error, body, kind=decoded_type(decode)) from None
    except UnicodeDecodeError:
        raise _invalid_json("it is not UTF-8") from None
    except RecursionError:
        raise _invalid_json("it is nested too deeply") from None


def decoded_type(decode: object) -> object:
    """What the method of a decoder decodes."""
    return getattr(getattr(decode, "__self__", None), "type", None)


def problem_of(
    error: msgspec.DecodeError, body: bytes | str = b"", *, kind: object = None
) -> Problem:
    """400 if the body is not JSON, 422 if it is JSON of another shape. body: the one with the
    error. kind: the type that it should have."""
    if not isinstance(error, msgspec.ValidationError):
        return _invalid_json(str(error)[:_ECHO_MAX])
    return invalid([fault_of(str(error), body, kind=kind)])


def _invalid_json(why: str) -> Problem:
    return Problem(400, "validation_error", detail=f"The body is not valid JSON: {why}.")


def _with_map_key(steps: list[str], body: bytes | str) -> list[str]:
    """Replace the placeholder by the first key whose value is not text: msgspec does not name
    it."""
    if steps[-1:] != [_SOME_KEY] or len(steps) != 2:
        return steps
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):  # the rest of the body may be invalid
        return steps
    value = found.get(steps[0]) if isinstance(found, dict) else None
    pairs = value.items() if isinstance(value, dict) else ()
    key = next((key for key, text in pairs if not isinstance(text, str)), _SOME_KEY)
    return [steps[0], key[:_KEY_MAX].replace("~", "~0").replace("/", "~1")]


def fault_of(text: str, body: bytes | str = b"", *, kind: object = None) -> Fault:
    if len(text) > _ECHO_MAX:
        text = f"{text[: _ECHO_MAX // 2]}…{text[-_ECHO_MAX // 2 :]}"
    match = _AT.match(text)
    what, path = (match["what"], match["path"] or "") if match else (text, "")
    steps = _with_map_key([name or index for name, index in _STEP.findall(path)], body)
    if missing := _MISSING.search(what):
        pointer = "/".join(["#", *steps, missing[1]])
        return Fault(pointer, "missing_required_field", f"The field {missing[1]} is missing.")
    if unknown := _UNKNOWN.search(what):
        pointer = "/".join(["#", *steps, unknown[1]])
        return Fault(pointer, "unknown_field", f"Unknown field {unknown[1]}.")
    what = explanation_of(what) or with_choices(what, choices_at(kind, steps))
    where = ".".join(steps)
    return Fault("/".join(["#", *steps]), "invalid", f"{where}: {what}" if where else what)


def with_choices(what: str, choices: Sequence[str]) -> str:
    """The problem with a value that is none of the choices, if it is that."""
    if not what.startswith(ENUM_ERROR) or not choices:
        return what
    return f"Invalid value{what.removeprefix(ENUM_ERROR)}. Use one of {', '.join(choices)}"
