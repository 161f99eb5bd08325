"""msgspec's words about a wrong body, as faults with JSON pointers (RFC 6901)."""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from services.ingest.domain.problem import Fault, Problem, invalid

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.+)`")
_UNKNOWN = re.compile(r"unknown field `(.+)`")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")

_BOM = b"\xef\xbb\xbf"  # RFC 8259 §8.1: a reader may ignore it
_ECHO_MAX = 400  # what is wrong is told, not sent back whole

T = TypeVar("T")


def decoded(decode: Callable[[bytes], T], body: bytes) -> T:
    """A body in its shape. The only reader of JSON that comes from outside. Raises Problem."""
    try:
        return decode(body.removeprefix(_BOM))
    except msgspec.DecodeError as error:
        raise problem_of(error) from None
    except UnicodeDecodeError:
        raise _no_json("it is not UTF-8") from None
    except RecursionError:
        raise _no_json("it is nested too deeply") from None


def problem_of(error: msgspec.DecodeError) -> Problem:
    """400 for what is not JSON, 422 for JSON of another shape."""
    if not isinstance(error, msgspec.ValidationError):
        return _no_json(str(error)[:_ECHO_MAX])
    return invalid([fault_of(str(error))])


def _no_json(why: str) -> Problem:
    return Problem(400, "validation_error", detail=f"the body is not valid JSON: {why}")


def fault_of(said: str) -> Fault:
    if len(said) > _ECHO_MAX:
        said = f"{said[: _ECHO_MAX // 2]}…{said[-_ECHO_MAX // 2 :]}"
    match = _AT.match(said)
    what, path = (match["what"], match["path"] or "") if match else (said, "")
    steps = [name or index for name, index in _STEP.findall(path)]
    if missing := _MISSING.search(what):
        pointer = "/".join(["#", *steps, missing[1]])
        return Fault(pointer, "missing_required_field", f"the field {missing[1]} is missing")
    if unknown := _UNKNOWN.search(what):
        pointer = "/".join(["#", *steps, unknown[1]])
        return Fault(pointer, "unknown_field", f"there is no field {unknown[1]}")
    where = ".".join(steps)
    return Fault("/".join(["#", *steps]), "invalid", f"{where}: {what}" if where else what)
