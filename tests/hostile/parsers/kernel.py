"""Parsers of the kernel."""

from kernel.redaction import found_anywhere, found_in, pattern_of

ADDRESS = pattern_of("a@x.\u00e9")
READERS = {
    "redaction": lambda text: found_in(text, ADDRESS),
    "redaction_anywhere": lambda text: found_anywhere(text, ADDRESS),
}
