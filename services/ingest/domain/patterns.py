"""Patterns of text in requests, and what a client reads that breaks one."""

_explanations: dict[str, str] = {}  # by pattern, as msgspec quotes it


def explained(pattern: str, explanation: str) -> str:
    """The pattern. explanation: what to write instead of what does not match it."""
    _explanations[repr(pattern)] = explanation
    return pattern


def explanation_of(error: str) -> str | None:
    """What a client should do about an error of msgspec; None if no pattern was broken."""
    return _explanations.get(error.partition("Expected `str` matching regex ")[2])


# One line of printable text, without controls of its direction, which disguise a name. In Python
# `$` also matches before a final line break.
LINE = explained(
    r"^[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]*$(?!\n)",
    "Use one line of text, without control characters",
)
