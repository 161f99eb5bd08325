"""Patterns of text in requests, and what a client reads that breaks one."""

_explanations: dict[str, str] = {}  # by pattern, as msgspec quotes it


def explained(pattern: str, explanation: str) -> str:
    """The pattern. explanation: what to write instead of what does not match it."""
    _explanations[repr(pattern)] = explanation
    return pattern


def explanation_of(error: str) -> str | None:
    """What a client should do about an error of msgspec; None if no pattern was broken."""
    return _explanations.get(error.partition("Expected `str` matching regex ")[2])
