"""msgspec's words about a wrong body, as faults with JSON pointers (RFC 6901)."""

import re

import msgspec

from services.ingest.domain.problem import Fault, Problem, invalid

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.+)`")
_UNKNOWN = re.compile(r"unknown field `(.+)`")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


def problem_of(error: msgspec.DecodeError) -> Problem:
    """400 for what is not JSON, 422 for JSON of another shape."""
    if not isinstance(error, msgspec.ValidationError):
        return Problem(400, "validation_error", detail=f"the body is not valid JSON: {error}")
    return invalid([fault_of(str(error))])


def fault_of(said: str) -> Fault:
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
